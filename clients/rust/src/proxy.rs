//! Which proxy a URL goes through.
//!
//! ureq would take the first variable that it can parse, whatever the URL's scheme, and pass over nonsense in silence.

use ureq::{Proxy, ProxyProtocol};

use crate::error::BuildError;

/// The proxy of a scheme, from `HTTPS_PROXY` or `http_proxy`, then `ALL_PROXY`, without the hosts of `NO_PROXY`.
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
    if parsed.host().is_empty() {
        return Err(nonsense());
    }
    let mut builder = Proxy::builder(parsed.protocol()).host(parsed.host()).port(parsed.port());
    if let Some(username) = parsed.username() {
        builder = builder.username(username);
    }
    if let Some(password) = parsed.password() {
        builder = builder.password(password);
    }
    let excluded = variable("no_proxy").or_else(|| variable("NO_PROXY")).unwrap_or_default();
    for host in excluded.split(',').map(str::trim).filter(|host| !host.is_empty()) {
        builder = builder.no_proxy(host);
    }
    builder.build().map(Some).map_err(|_| nonsense())
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
        let proxy = chosen("https", &[("https_proxy", "http://p.example"), ("no_proxy", "a.example, .internal")]);
        let proxy = proxy.unwrap().unwrap();
        assert!(proxy.is_no_proxy(&"https://a.example/x".parse().unwrap()));
        assert!(!proxy.is_no_proxy(&"https://b.example/x".parse().unwrap()));
    }

    #[test]
    fn nonsense_is_refused_and_not_quoted() {
        for bad in ["http://", "://x", "ftp://user:secret@x", "socks5://x:1"] {
            let error = chosen("https", &[("https_proxy", bad)]).unwrap_err().to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
