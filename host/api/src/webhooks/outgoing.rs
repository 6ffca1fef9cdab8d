//! Requests that this process makes for somebody it does not trust: no redirects, no private addresses, bounded in
//! time and size.

use std::{error::Error, net::IpAddr, sync::OnceLock, time::Duration};

use reqwest::{Client, Method, Url, redirect};

use super::address::{Blocked, Guard, WebhookConfig, public};

/// One request.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// In capitals.
    pub method: &'static str,
    /// Where it goes.
    pub url: String,
    /// The host that was allowed, in lower case and without brackets: the URL has to mean it.
    pub host: String,
    /// The port that was allowed: the URL has to mean it.
    pub port: u16,
    /// Whether the host may be at an address that is not public.
    pub private: bool,
    /// Names and values.
    pub headers: Vec<(String, String)>,
    /// May be empty.
    pub body: Vec<u8>,
    /// Time until the last byte of the answer, look-up included.
    pub timeout: Duration,
    /// Bytes of the answer's body.
    pub body_bytes_max: u64,
    /// Bytes of the answer's headers.
    pub header_bytes_max: u64,
}

/// An answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// Such as 200.
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// The whole body.
    pub body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum NoAnswer {
    /// The host is at an address that is not public, or the URL means another host.
    Blocked(String),
    /// Nothing came in time.
    Timeout,
    /// The answer's body or headers are larger than allowed.
    TooLarge,
    /// No connection, or it broke.
    Failed(String),
}

/// Makes such requests. Cheap to make: nothing is started before the first.
#[derive(Default)]
pub struct OutgoingClient {
    made: OnceLock<Result<Made, String>>,
}

struct Made {
    /// Its own, since callers are threads that block.
    runtime: tokio::runtime::Runtime,
    guarded: Client,
    any: Client,
}

impl OutgoingClient {
    /// Makes one request and blocks until its answer is there.
    ///
    /// # Errors
    /// [`NoAnswer`].
    pub fn send(&self, request: Outgoing) -> Result<Answer, NoAnswer> {
        let made = self.made.get_or_init(make).as_ref().map_err(|error| NoAnswer::Failed(error.clone()))?;
        let url = Url::parse(&request.url).map_err(|error| NoAnswer::Failed(error.to_string()))?;
        let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let same = match (host.parse::<IpAddr>(), request.host.parse::<IpAddr>()) {
            (Ok(meant), Ok(allowed)) => meant == allowed,
            _ => host == request.host,
        };
        if !same || url.port_or_known_default() != Some(request.port) || !url.username().is_empty() {
            return Err(NoAnswer::Blocked(format!("the URL means `{host}`, not `{}`", request.host)));
        }
        // An address is connected to without asking any resolver.
        if let Some(ip) = host.parse::<IpAddr>().ok().filter(|_| !request.private) {
            public(ip).map_err(|reason| NoAnswer::Blocked(format!("`{host}` is {reason}")))?;
        }
        let client = if request.private { &made.any } else { &made.guarded };
        let (client, timeout) = (client.clone(), request.timeout);
        let (tell, told) = std::sync::mpsc::sync_channel(1);
        let task = made.runtime.spawn(async move {
            let answer = tokio::time::timeout(timeout, ask(&client, url, request)).await;
            // Nobody listens any more where the caller gave up.
            let _ = tell.send(answer.unwrap_or(Err(NoAnswer::Timeout)));
        });
        // A little longer than the task's own time, which tells more.
        told.recv_timeout(timeout + Duration::from_millis(200)).unwrap_or_else(|_| {
            task.abort();
            Err(NoAnswer::Timeout)
        })
    }
}

fn make() -> Result<Made, String> {
    crate::install_crypto();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("plinth-outgoing")
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    let [guarded, any] = Guard::both(&WebhookConfig::default());
    let client = |guard: Guard| {
        let builder = || {
            Client::builder()
                .dns_resolver(guard.clone())
                .redirect(redirect::Policy::none())
                .no_proxy()
                // Every request connects anew, so that its address is checked.
                .pool_max_idle_per_host(0)
                .user_agent(concat!("plinth/", env!("CARGO_PKG_VERSION")))
        };
        // A machine without certificates still reaches hosts that need none.
        builder().build().or_else(|_| builder().tls_certs_only([]).build()).map_err(|error| error.to_string())
    };
    Ok(Made { guarded: client(guarded)?, any: client(any)?, runtime })
}

async fn ask(client: &Client, url: Url, request: Outgoing) -> Result<Answer, NoAnswer> {
    let method = Method::from_bytes(request.method.as_bytes()).map_err(|error| NoAnswer::Failed(error.to_string()))?;
    let mut building = client.request(method, url);
    for (name, value) in &request.headers {
        building = building.header(name, value);
    }
    if !request.body.is_empty() {
        building = building.body(request.body);
    }
    let mut response = building.send().await.map_err(|error| failed(&error))?;
    let headers: Vec<(String, String)> = response
        .headers()
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect();
    if headers.iter().map(|(name, value)| (name.len() + value.len()) as u64).sum::<u64>() > request.header_bytes_max {
        return Err(NoAnswer::TooLarge);
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| failed(&error))? {
        if (body.len() + chunk.len()) as u64 > request.body_bytes_max {
            return Err(NoAnswer::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Answer { status: response.status().as_u16(), headers, body })
}

/// What went wrong, without the URL: its query may hold what is not to be logged.
fn failed(error: &reqwest::Error) -> NoAnswer {
    if error.is_timeout() {
        return NoAnswer::Timeout;
    }
    let mut cause: Option<&(dyn Error + 'static)> = error.source();
    let mut last = "no connection".to_owned();
    while let Some(inner) = cause {
        if inner.downcast_ref::<Blocked>().is_some() {
            return NoAnswer::Blocked("its name leads to an address that is not public".into());
        }
        last = inner.to_string();
        cause = inner.source();
    }
    NoAnswer::Failed(last)
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::TcpListener,
    };

    use super::*;

    /// A server that gives one answer, and its port.
    fn server(answer: Vec<u8>) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let _ = stream.read(&mut [0; 4096]);
                let _ = stream.write_all(&answer);
            }
        });
        port
    }

    fn request(url: String, host: &str, port: u16, private: bool) -> Outgoing {
        Outgoing {
            method: "GET",
            url,
            host: host.into(),
            port,
            private,
            headers: vec![("x-a".into(), "b".into())],
            body: vec![],
            timeout: Duration::from_secs(5),
            body_bytes_max: 100,
            header_bytes_max: 1_000,
        }
    }

    fn ask(answer: &str, private: bool) -> Result<Answer, NoAnswer> {
        let port = server(answer.as_bytes().to_vec());
        OutgoingClient::default().send(request(format!("http://127.0.0.1:{port}/x"), "127.0.0.1", port, private))
    }

    #[test]
    fn a_private_address_is_reached_only_where_it_may_be() {
        let answer = ask("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi", true).unwrap();
        assert_eq!((answer.status, answer.body.as_slice()), (200, &b"hi"[..]));
        let blocked = ask("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi", false).unwrap_err();
        assert_eq!(blocked, NoAnswer::Blocked("`127.0.0.1` is a loopback address".into()));
        // A name that leads there is told when it is looked up.
        let client = OutgoingClient::default();
        let blocked = client.send(request("http://localhost:9/".into(), "localhost", 9, false)).unwrap_err();
        assert_eq!(blocked, NoAnswer::Blocked("its name leads to an address that is not public".into()));
    }

    #[test]
    fn a_redirect_is_handed_back_and_not_followed() {
        let answer =
            ask("HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\n\r\n", true).unwrap();
        assert_eq!(answer.status, 302);
        assert!(answer.headers.contains(&("location".into(), "http://169.254.169.254/".into())));
    }

    #[test]
    fn what_is_too_large_or_another_host_is_refused() {
        let body = "x".repeat(101);
        let text = format!("HTTP/1.1 200 OK\r\n\r\n{body}");
        assert_eq!(ask(&text, true).unwrap_err(), NoAnswer::TooLarge);
        let text = format!("HTTP/1.1 200 OK\r\nx: {}\r\ncontent-length: 0\r\n\r\n", "y".repeat(1_000));
        assert_eq!(ask(&text, true).unwrap_err(), NoAnswer::TooLarge);
        let other = request("http://127.1:9/".into(), "example.com", 9, true);
        assert!(matches!(OutgoingClient::default().send(other), Err(NoAnswer::Blocked(_))));
    }

    #[test]
    fn a_host_that_is_silent_ends_in_time() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut silent = request(format!("http://127.0.0.1:{port}/"), "127.0.0.1", port, true);
        silent.timeout = Duration::from_millis(50);
        assert_eq!(OutgoingClient::default().send(silent).unwrap_err(), NoAnswer::Timeout);
    }
}
