//! Requests, abused. The operator granted `granted.example` and nothing else.

use std::hint::black_box;

use plinth_sdk::{
    Problem,
    http::{self, Method},
};

use crate::{code, unknown};

/// URLs that lead elsewhere than to the host that was granted, or try to.
pub const URLS: [&str; 26] = [
    "file:///etc/passwd",
    "gopher://granted.example/",
    "//granted.example/",
    "granted.example",
    "https://user:pw@granted.example/",
    "https://granted.example@evil.example/",
    "https://granted.example\\@evil.example/",
    "https://granted.example.evil.example/",
    "https://sub.granted.example/",
    "https://granted.example:8443/",
    "https://evil.example/?granted.example",
    "https://evil.example#granted.example",
    "https://granted.example\r\nHost: evil.example/",
    "https://granted.example\0.evil.example/",
    "https://gr\u{430}nted.example/",
    "https://granted%2eexample/",
    "http://127.0.0.1/",
    "http://2130706433/",
    "http://0x7f000001/",
    "http://0177.0.0.1/",
    "http://127.1/",
    "http://0/",
    "http://[::1]/",
    "http://[::ffff:127.0.0.1]/",
    "http://169.254.169.254/latest/meta-data",
    "http://localhost/",
];

/// A URL that the operator granted.
pub const GRANTED: &str = "https://granted.example/";

/// Commits a misdeed; says what the host answered.
///
/// # Errors
/// The host's problem, where that is the answer.
pub fn commit(name: &str, url: &str) -> Result<String, Problem> {
    let send = |method, headers: &[(&str, &str)], body: &[u8]| http::send(method, GRANTED, headers, body);
    Ok(match name {
        "http-urls" => URLS.map(|url| code(http::get(url))).join(" "),
        "http-methods" => [Method::Post, Method::Put, Method::Patch, Method::Delete]
            .map(|method| code(send(method, &[], b"")))
            .join(" "),
        "http-bad-headers" => [
            ("x", "a\r\nHost: evil.example"),
            ("x\r\nHost", "evil.example"),
            ("x", "a\0b"),
            ("Host", "evil.example"),
            ("content-length", "9999999999"),
            ("Transfer-Encoding", "chunked"),
            ("connection", "upgrade"),
            ("", "x"),
            ("x y", "z"),
            ("x", "\u{e9}"),
        ]
        .map(|header| code(send(Method::Get, &[header], b"")))
        .join(" "),
        "http-many-headers" => code(send(Method::Get, &vec![("x", "y"); 10_000], b"")),
        "http-huge-header" => code(send(Method::Get, &[("x", &"y".repeat(1 << 20))], b"")),
        "http-huge-body" => {
            format!("{} {}", code(send(Method::Get, &[], &[1; 10])), code(send(Method::Get, &[], &vec![1; 16 << 20])))
        }
        "http-get" => {
            let answer = http::get(url)?;
            format!("{}, {} bytes", answer.status, answer.body.len())
        }
        "http-flood" => {
            for _ in 0..10_000 {
                http::get(url)?;
            }
            "10000 requests".into()
        }
        "http-endless" => loop {
            let _ = black_box(http::get(url));
        },
        _ => return Err(unknown(name)),
    })
}
