//! Where webhooks may lead: to public addresses, and wherever the operator allows.
//!
//! Whoever may make a webhook makes the server send requests. That must not open what only the server reaches: its own
//! machine, the network behind it, a cloud's metadata. A URL is checked when it is given, as far as it can be told from
//! its text, and again at every attempt; a name is resolved here, once, and the connection goes to the addresses that
//! were checked, so that a name server cannot answer one thing to the check and another to the connection.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
    sync::Arc,
};

use futures_util::future::BoxFuture;
use reqwest::{
    Url,
    dns::{Addrs, Name, Resolve, Resolving},
};
use tokio::sync::Semaphore;

/// A receiver that the operator allows, whatever its address: `HOST`, `HOST:PORT`, or `*` for any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedHost {
    /// In lower case, without brackets.
    host: String,
    /// Any, if none is named.
    port: Option<u16>,
}

impl FromStr for AllowedHost {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("`{text}` is not HOST or HOST:PORT, such as `hooks.internal:8080`");
        // An address of version 6 has colons of its own.
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
                (host, Some(port.parse().map_err(|_| bad())?))
            }
            _ => (text, None),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.').to_ascii_lowercase();
        if host.is_empty() || host.contains(|c: char| c.is_whitespace() || matches!(c, '/' | '@' | '?' | '#')) {
            return Err(bad());
        }
        Ok(Self { host, port })
    }
}

/// Where webhooks may lead.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WebhookConfig {
    /// Receivers that are allowed whatever their address.
    pub allow: Vec<AllowedHost>,
    /// Whether `localhost`, `127.0.0.1` and `[::1]` are allowed: right only where everyone who can make a webhook is on
    /// this machine anyway.
    pub loopback: bool,
}

/// What a URL may use on the way to its receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// Any address: the operator named the host.
    Any,
    /// Only addresses that pass the checks here.
    Guarded,
}

impl WebhookConfig {
    /// Checks a URL by its text; the messages are MLflow's where it has one.
    pub(super) fn check(&self, text: &str) -> Result<(Url, Way), String> {
        if text.trim().is_empty() {
            return Err(format!("Webhook URL cannot be empty or just whitespace: '{text}'"));
        }
        let shown: String = text.chars().take(100).collect();
        let scheme = text.split_once(':').map_or("", |(scheme, _)| scheme).to_ascii_lowercase();
        let named = !scheme.is_empty() && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
        if !matches!(scheme.as_str(), "http" | "https") {
            let scheme = if named { scheme.as_str() } else { "" };
            return Err(format!("Invalid webhook URL scheme: '{scheme}'. Allowed schemes are: https, http."));
        }
        // What parsers disagree about is nothing that a receiver's address needs.
        if text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '\\') {
            return Err(format!(
                "Invalid webhook URL '{shown}': it has white space, a control character or a backslash"
            ));
        }
        let Some(rest) = text.split_once(':').and_then(|(_, rest)| rest.strip_prefix("//")) else {
            return Err(format!("Webhook URL must include a hostname: '{shown}'"));
        };
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        if authority.is_empty() {
            return Err(format!("Webhook URL must include a hostname: '{shown}'"));
        }
        if authority.contains('@') {
            return Err(format!("Invalid webhook URL '{shown}': it names a user; sign requests with a secret instead"));
        }
        let url = Url::parse(text).map_err(|error| format!("Invalid webhook URL '{shown}': {error}"))?;
        let host = url.host_str().unwrap_or_default().trim_end_matches('.').to_ascii_lowercase();
        if host.is_empty() {
            return Err(format!("Webhook URL must include a hostname: '{shown}'"));
        }
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if self.allows(host, url.port_or_known_default()) {
            return Ok((url, Way::Any));
        }
        match host.parse::<IpAddr>() {
            Ok(ip) => {
                let written = host_of(authority);
                let plain = written.parse::<IpAddr>().is_ok_and(|written| written == ip);
                if !plain {
                    return Err(format!("Webhook URL host '{written}' is not a canonical IP address literal."));
                }
                if !(self.loopback && is_own(ip)) {
                    public(ip).map_err(|reason| refusal(host, Some(ip), reason))?;
                }
            }
            Err(_) => self.check_name(host)?,
        }
        Ok((url, Way::Guarded))
    }

    /// Names that no public name server answers for; all others are decided by their addresses.
    fn check_name(&self, host: &str) -> Result<(), String> {
        if host == "localhost" && self.loopback {
            return Ok(());
        }
        const PRIVATE: [&str; 7] = ["localhost", "local", "localdomain", "internal", "intranet", "lan", "home.arpa"];
        let private =
            |suffix: &&str| host.strip_suffix(*suffix).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
        if !host.contains('.') || PRIVATE.iter().any(private) {
            return Err(refusal(host, None, "a name of a private network"));
        }
        Ok(())
    }

    fn allows(&self, host: &str, port: Option<u16>) -> bool {
        let same = |allowed: &AllowedHost| match (allowed.host.parse::<IpAddr>(), host.parse::<IpAddr>()) {
            (Ok(allowed), Ok(asked)) => allowed == asked,
            _ => allowed.host == host,
        };
        self.allow
            .iter()
            .any(|allowed| (allowed.host == "*" || same(allowed)) && (allowed.port.is_none() || allowed.port == port))
    }
}

fn refusal(host: &str, ip: Option<IpAddr>, reason: &str) -> String {
    let host: String = host.chars().take(100).collect();
    let what = ip.map_or_else(|| format!("'{host}' is {reason}"), |ip| format!("'{host}' resolves to {ip}, {reason}"));
    format!(
        "Webhook URL must not resolve to a non-public IP address. {what}. The operator can allow it with --webhook-allow."
    )
}

/// `HOST` of `HOST:PORT`, without brackets.
fn host_of(authority: &str) -> &str {
    match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, _)) => host,
        None => authority.split(':').next().unwrap_or_default(),
    }
}

fn is_own(ip: IpAddr) -> bool {
    ip == IpAddr::V4(Ipv4Addr::LOCALHOST) || ip == IpAddr::V6(Ipv6Addr::LOCALHOST)
}

/// Whether an address is one of the public internet's; if not, what else it is.
pub(super) fn public(ip: IpAddr) -> Result<(), &'static str> {
    match ip {
        IpAddr::V4(ip) => public_v4(ip),
        IpAddr::V6(ip) => public_v6(ip),
    }
}

fn public_v4(ip: Ipv4Addr) -> Result<(), &'static str> {
    let [a, b, c, _] = ip.octets();
    match (a, b, c) {
        (0, ..) => Err("an unspecified address"),
        (127, ..) => Err("a loopback address"),
        (10, ..) | (172, 16..=31, _) | (192, 168, _) => Err("a private address"),
        (100, 64..=127, _) => Err("an address shared by a provider's customers"),
        (169, 254, _) => Err("a link-local address"),
        // The one public address behind which a cloud answers its machines alone.
        (168, 63, 129) if ip == Ipv4Addr::new(168, 63, 129, 16) => Err("a cloud's metadata address"),
        (192, 0, 0) | (192, 88, 99) => Err("an address reserved for protocols"),
        (192, 0, 2) | (198, 51, 100) | (203, 0, 113) => Err("an address for documentation"),
        (198, 18..=19, _) => Err("an address for measurements"),
        (224..=239, ..) => Err("a multicast address"),
        (240..=255, ..) => Err("a reserved address"),
        _ => Ok(()),
    }
}

fn public_v6(ip: Ipv6Addr) -> Result<(), &'static str> {
    let part = ip.segments();
    // A gateway between the versions of IP translates these: it is the address inside that counts.
    if part[..6] == [0x64, 0xff9b, 0, 0, 0, 0] {
        let [.., a, b, c, d] = ip.octets();
        return public_v4(Ipv4Addr::new(a, b, c, d));
    }
    match part[0] {
        _ if ip.is_loopback() => Err("a loopback address"),
        _ if ip.is_unspecified() => Err("an unspecified address"),
        _ if ip.to_ipv4_mapped().is_some() => Err("an address of version 4 in disguise"),
        0xfc00..=0xfdff => Err("a private address"),
        0xfe80..=0xfebf => Err("a link-local address"),
        0xff00.. => Err("a multicast address"),
        0x2001 if part[1] < 0x200 => Err("an address reserved for protocols"),
        0x2001 if part[1] == 0xdb8 => Err("an address for documentation"),
        0x2002 => Err("an address of version 4 in disguise"),
        0x3fff if part[1] < 0x1000 => Err("an address for documentation"),
        0x2000..=0x3fff => Ok(()),
        _ => Err("a reserved address"),
    }
}

/// A name's addresses were not all public.
#[derive(Debug)]
pub(super) struct Blocked(String);

impl std::fmt::Display for Blocked {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.write_str(&self.0)
    }
}

impl std::error::Error for Blocked {}

/// What asks the system's name service, or stands in for it.
type Lookup = Arc<dyn Fn(String) -> BoxFuture<'static, std::io::Result<Vec<IpAddr>>> + Send + Sync>;

/// Names that are looked up at once. A look-up holds a thread until the name service answers, also if nobody waits any
/// more, and the server's other work needs threads too.
const LOOKUPS_MAX: usize = 16;

/// Resolves names for connections, and lets only addresses through that webhooks may lead to.
#[derive(Clone)]
pub(super) struct Guard {
    way: Way,
    loopback: bool,
    lookup: Lookup,
}

impl Guard {
    /// One for each way that a URL may take; they share their look-ups.
    pub(super) fn both(config: &WebhookConfig) -> [Self; 2] {
        let places = Arc::new(Semaphore::new(LOOKUPS_MAX));
        let lookup: Lookup = Arc::new(move |host| {
            let places = Arc::clone(&places);
            Box::pin(async move {
                let place = places.acquire_owned().await.map_err(std::io::Error::other)?;
                let looking = tokio::spawn(async move {
                    let found = tokio::net::lookup_host((host.as_str(), 0)).await.map(Iterator::collect::<Vec<_>>);
                    drop(place);
                    found
                });
                Ok(looking.await.map_err(std::io::Error::other)??.iter().map(SocketAddr::ip).collect())
            })
        });
        [Way::Guarded, Way::Any].map(|way| Self { way, loopback: config.loopback, lookup: Arc::clone(&lookup) })
    }

    async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, Box<dyn std::error::Error + Send + Sync>> {
        let host = host.trim_end_matches('.');
        // Not asked for: the name says which addresses it means.
        if self.loopback && host.eq_ignore_ascii_case("localhost") {
            return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
        }
        let found = (self.lookup)(host.to_owned()).await?;
        if self.way == Way::Any {
            return Ok(found);
        }
        // One bad address among good ones is a trap rather than an accident.
        for ip in &found {
            public(*ip).map_err(|reason| Blocked(refusal(host, Some(*ip), reason)))?;
        }
        Ok(found)
    }
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.clone();
        Box::pin(async move {
            let found = guard.addresses(name.as_str()).await?;
            // The port comes from the URL.
            let addresses: Addrs = Box::new(found.into_iter().map(|ip| SocketAddr::new(ip, 0)));
            Ok(addresses)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(allow: &[&str], loopback: bool) -> WebhookConfig {
        WebhookConfig { allow: allow.iter().map(|host| host.parse().unwrap()).collect(), loopback }
    }

    #[test]
    fn only_public_addresses_are_public() {
        let private = [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.100.100.200",
            "127.0.0.1",
            "127.9.9.9",
            "168.63.129.16",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:8.8.8.8",
            "::ffff:127.0.0.1",
            "::7f00:1",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "4000::1",
        ];
        for ip in private {
            assert!(public(ip.parse().unwrap()).is_err(), "{ip}");
        }
        for ip in [
            "8.8.8.8",
            "100.63.0.1",
            "100.128.0.1",
            "172.32.0.1",
            "168.63.129.17",
            "2606:4700::1111",
            "64:ff9b::808:808",
        ] {
            assert!(public(ip.parse().unwrap()).is_ok(), "{ip}");
        }
    }

    #[test]
    fn what_the_operator_names_is_allowed_and_nothing_else() {
        let strict = config(&[], false);
        let named = config(&["Hooks.internal:8080", "10.0.0.7", "[fd00::1]:81"], false);
        for url in ["http://hooks.internal:8080/x", "http://10.0.0.7:9/x", "https://10.0.0.7", "http://[fd00::1]:81/"] {
            assert!(strict.check(url).is_err(), "{url}");
            assert_eq!(named.check(url).unwrap().1, Way::Any, "{url}");
        }
        for url in ["http://hooks.internal/x", "http://10.0.0.8/", "http://[fd00::1]/", "http://x.hooks.internal:8080/"]
        {
            assert!(named.check(url).is_err(), "{url}");
        }
        assert_eq!(config(&["*"], false).check("http://127.0.0.1:1").unwrap().1, Way::Any);
        for text in ["", "http://x", "a b", "x:port", "u@x"] {
            assert!(text.parse::<AllowedHost>().is_err(), "{text}");
        }
    }

    #[test]
    fn this_machine_is_meant_only_by_its_own_names_and_only_where_that_is_allowed() {
        let (local, strict) = (config(&[], true), config(&[], false));
        for url in ["http://localhost:1/x", "http://127.0.0.1:1/", "http://[::1]:1/"] {
            assert_eq!(local.check(url).unwrap().1, Way::Guarded, "{url}");
            assert!(strict.check(url).is_err(), "{url}");
        }
        for url in
            ["http://127.0.0.2/", "http://x.localhost/", "http://127.1/", "http://[::ffff:127.0.0.1]/", "http://0/"]
        {
            assert!(local.check(url).is_err(), "{url}");
        }
    }

    #[tokio::test]
    async fn a_name_is_what_it_resolves_to_and_one_bad_address_spoils_it() {
        let guard = |answers: &[&str], loopback: bool| {
            let answers: Vec<IpAddr> = answers.iter().map(|ip| ip.parse().unwrap()).collect();
            let lookup: Lookup = Arc::new(move |_| {
                let answers = answers.clone();
                Box::pin(async move { Ok(answers) })
            });
            Guard { way: Way::Guarded, loopback, lookup }
        };
        for bad in [&["127.0.0.1"][..], &["8.8.8.8", "169.254.169.254"], &["::1"], &["10.0.0.1"]] {
            // Even where this machine is allowed: a name of others must not lead there.
            let error = guard(bad, true).addresses("evil.example").await.unwrap_err();
            assert!(error.is::<Blocked>(), "{error}");
        }
        assert_eq!(guard(&["8.8.8.8"], false).addresses("good.example").await.unwrap().len(), 1);
        assert_eq!(guard(&[], true).addresses("localhost").await.unwrap().len(), 2);
        assert!(guard(&["127.0.0.1"], false).addresses("localhost").await.is_err());
    }

    #[tokio::test]
    async fn a_name_server_that_changes_its_mind_gets_no_connection() {
        use std::sync::atomic::{AtomicUsize, Ordering};
        // Public when it is asked first, this machine afterwards.
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&asked);
        let lookup: Lookup = Arc::new(move |_| {
            let ip = if counted.fetch_add(1, Ordering::SeqCst) == 0 { "192.0.2.1" } else { "127.0.0.1" };
            Box::pin(async move { Ok(vec![ip.parse::<IpAddr>().unwrap()]) })
        });
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        crate::install_crypto();
        let client = reqwest::Client::builder()
            .no_proxy()
            .tls_certs_only([])
            .dns_resolver(Guard { way: Way::Guarded, loopback: false, lookup })
            .build()
            .unwrap();
        let url = format!("http://evil.example:{}/", listener.local_addr().unwrap().port());
        for _ in 0..2 {
            assert!(client.post(&url).send().await.unwrap_err().is_connect());
        }
        assert_eq!(asked.load(Ordering::SeqCst), 2, "each connection asks once");
        assert!(listener.accept().is_err(), "nobody connected");
    }
}
