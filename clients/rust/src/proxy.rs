//! Which proxy a URL goes through.
//!
//! ureq would take the first variable that it can parse, whatever the URL's scheme, and pass over nonsense in silence; and it
//! knows neither subdomains, ranges nor ports in `NO_PROXY`.

use std::net::IpAddr;

use ipnet::IpNet;
use ureq::http::Uri;
use ureq::{Proxy, ProxyProtocol};

use crate::error::BuildError;

/// The proxy of a scheme, from `HTTPS_PROXY` or `http_proxy`, then `ALL_PROXY`.
pub(crate) fn of_scheme(scheme: &str, variable: impl Fn(&str) -> Option<String>) -> Result<Option<Proxy>, BuildError> {
    // `HTTP_PROXY` in capitals may come from a request's header `Proxy` where a server runs us (CGI), as curl knows.
    let names: &[&str] = if scheme == "https" { &["https_proxy", "HTTPS_PROXY"] } else { &["http_proxy"] };
    let found = names.iter().chain(&["all_proxy", "ALL_PROXY"]);
    let found = found.filter_map(|name| variable(name).filter(|value| !value.is_empty()).map(|value| (*name, value)));
    let Some((name, value)) = found.into_iter().next() else { return Ok(None) };
    // The value may hold a password: it is not quoted.
    let nonsense = || BuildError::Url(format!("{name} is not a proxy's URL, as http://proxy.example:3128"));
    let parsed = Proxy::new(&value).map_err(|_| nonsense())?;
    if !matches!(parsed.protocol(), ProxyProtocol::Http | ProxyProtocol::Https) {
        return Err(BuildError::Url(format!("{name} names a SOCKS proxy; only http and https proxies are supported")));
    }
    if parsed.host().is_empty() { Err(nonsense()) } else { Ok(Some(parsed)) }
}

/// The hosts that are reached without a proxy, as `NO_PROXY` lists them: domains with their subdomains, addresses and
/// ranges of them, each perhaps with a port; `*` is all.
#[derive(Debug, Default)]
pub(crate) struct Direct {
    entries: Vec<(Host, Option<u16>)>,
}

#[derive(Debug)]
enum Host {
    All,
    Domain(String),
    Range(IpNet),
}

impl Direct {
    pub(crate) fn of(variable: impl Fn(&str) -> Option<String>) -> Self {
        let list = variable("no_proxy").or_else(|| variable("NO_PROXY")).unwrap_or_default();
        let entries = list.split([',', ' ']).map(str::trim).filter(|entry| !entry.is_empty());
        Self { entries: entries.map(entry).collect() }
    }

    /// Whether a URL's host is reached without a proxy.
    pub(crate) fn includes(&self, url: &str) -> bool {
        let Some(uri) = url.parse::<Uri>().ok().filter(|_| !self.entries.is_empty()) else { return false };
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).trim_end_matches('.').to_ascii_lowercase();
        let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
        let address: Option<IpAddr> = host.parse().ok();
        self.entries.iter().any(|(known, of_port)| {
            let is_host = match known {
                Host::All => true,
                Host::Range(range) => address.is_some_and(|address| range.contains(&address)),
                Host::Domain(domain) => {
                    host.strip_suffix(domain.as_str()).is_some_and(|before| before.is_empty() || before.ends_with('.'))
                }
            };
            is_host && of_port.is_none_or(|of_port| of_port == port)
        })
    }
}

/// A host or a range, and perhaps a port behind it.
fn entry(text: &str) -> (Host, Option<u16>) {
    let range = |text: &str| text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)).ok();
    if text == "*" {
        return (Host::All, None);
    }
    // A colon is a port's, but for the colons of an address.
    let bare = text.trim_matches(['[', ']']);
    if let Some(range) = range(bare) {
        return (Host::Range(range), None);
    }
    let (host, port) = match text.rsplit_once(':').map(|(host, port)| (host, port.parse())) {
        Some((host, Ok(port))) => (host, Some(port)),
        _ => (text, None),
    };
    let host = host.trim_matches(['[', ']']);
    match range(host) {
        Some(range) => (Host::Range(range), port),
        None => {
            let domain = host.trim_start_matches('*').trim_matches('.');
            (Host::Domain(domain.to_ascii_lowercase()), port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(scheme: &str, variables: &[(&str, &str)]) -> Result<Option<Proxy>, BuildError> {
        let find =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        of_scheme(scheme, find)
    }

    #[test]
    fn the_scheme_chooses_the_proxy() {
        let variables = [("https_proxy", "http://secure.example:1"), ("http_proxy", "http://plain.example:2")];
        assert_eq!(chosen("https", &variables).unwrap().unwrap().host(), "secure.example");
        assert_eq!(chosen("http", &variables).unwrap().unwrap().port(), 2);
        assert!(chosen("https", &[("HTTP_PROXY", "http://x.example")]).unwrap().is_none());
        assert_eq!(chosen("http", &[("ALL_PROXY", "http://all.example")]).unwrap().unwrap().host(), "all.example");
    }

    #[test]
    fn hosts_of_no_proxy_are_reached_directly() {
        let direct =
            |list: &str, url: &str| Direct::of(|name| (name == "no_proxy").then(|| list.to_owned())).includes(url);
        for (list, url) in [
            ("a.example, .internal", "https://a.example/x"),
            ("example", "https://deep.a.example/x"),
            (".internal", "https://x.internal"),
            ("*.internal", "https://x.internal"),
            ("x, EXAMPLE", "https://Api.Example"),
            ("*", "https://x"),
            ("10.0.0.0/8", "http://10.1.2.3/x"),
            ("127.0.0.1", "http://127.0.0.1:4566/x"),
            ("fd00::/8", "http://[fd12::1]/x"),
            ("a.example:8443", "https://a.example:8443/x"),
            ("a.example:443", "https://a.example/x"),
            ("[::1]:80", "http://[::1]/x"),
        ] {
            assert!(direct(list, url), "{list} {url}");
        }
        for (list, url) in [
            ("", "https://a.example"),
            ("a.example", "https://ba.example"),
            ("a.example:8443", "https://a.example/x"),
            ("10.0.0.0/8", "http://11.1.2.3/x"),
            ("10.0.0.0/8", "http://10.example/x"),
        ] {
            assert!(!direct(list, url), "{list} {url}");
        }
    }

    #[test]
    fn nonsense_is_refused_and_not_quoted() {
        for bad in ["http://", "://x", "ftp://user:secret@x", "socks5://x:1"] {
            let error = chosen("https", &[("https_proxy", bad)]).unwrap_err().to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
