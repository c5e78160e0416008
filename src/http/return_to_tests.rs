//! Open redirects: a corpus of known tricks, and a property against the parser itself.

use proptest::prelude::*;

use super::*;

const ALLOWED: &[&str] = &[
    "https://app.example.com",
    "https://app.example.com/done",
    "https://app.example.com/a/c;p=1",
    "https://xn--bcher-kva.example/fertig",
    "https://app.example.com:8444/done",
];

fn policy(allow_loopback: bool) -> ReturnPolicy {
    ReturnPolicy {
        allowed_return_urls: ALLOWED.iter().map(|entry| entry.parse().unwrap()).collect(),
        allow_loopback,
    }
}

/// What must be refused, also in development.
const HOSTILE: &[&str] = &[
    "",
    " ",
    "/",
    "/done",
    "//app.example.com/done",
    "//evil.example",
    "///evil.example",
    "////evil.example",
    "app.example.com",
    "app.example.com/done",
    "https:app.example.com",
    "https:/app.example.com",
    "https:///app.example.com",
    "https:////evil.example",
    "https://",
    "https://evil.example",
    "https://evil.example/https://app.example.com",
    "https://evil.example?https://app.example.com",
    "https://evil.example#https://app.example.com",
    "https://app.example.com.evil.example/",
    "https://evil-app.example.com/",
    "https://evilapp.example.com/",
    "https://sub.app.example.com/",
    "https://app.example.co",
    "https://app.example.com.",
    "https://app.example.com:8443/",
    "https://app.example.com:80/",
    "https://app.example.com:/",
    "https://app.example.com:0443/",
    "https://app.example.com:evil/",
    "http://app.example.com/",
    "https://app.example.com@evil.example/",
    "https://app.example.com:x@evil.example/",
    "https://user@app.example.com/",
    "https://user:pw@app.example.com/",
    "https://@app.example.com/",
    "https://evil.example\\@app.example.com/",
    "https://app.example.com\\@evil.example/",
    "https://app.example.com\\.evil.example/",
    "https:\\\\app.example.com/",
    "https:/\\app.example.com/",
    "\\\\evil.example",
    "/\\evil.example",
    "https://app.example.com%2eevil.example/",
    "https://app.example.com%00.evil.example/",
    "https://app.example.com%40evil.example/",
    "https://app%2eexample%2ecom/",
    "https://app.example.com%252f@evil.example",
    "https://app.example.com/%0d%0aSet-Cookie:x=1",
    "https://app.example.com/%0D%0ALocation:https://evil.example",
    "https://app.example.com/%5cevil.example",
    "https://app.example.com/%00",
    "https://app.example.com/%zz",
    "https://app.example.com/%",
    "https://app.example.com/\r\nSet-Cookie: x=1",
    "https://app.example.com/\u{0}",
    "https://app.example.com/a b",
    " https://app.example.com/",
    "https://app.example.com/ ",
    "\thttps://app.example.com/",
    "ht\ntps://app.example.com/",
    "https://app.exa\tmple.com/",
    "https://app.example.com//evil.example",
    "https://app.example.com/.//evil.example",
    "https://app.example.com/%2fevil.example",
    "https://app.example.com/%2F%2Fevil.example",
    "https://app.example.com/#https://evil.example",
    "https://app.example.com#@evil.example/",
    "https://app.example.com?status=connected",
    "https://app.example.com/?x=1&confirmation=forged",
    "https://app.example.com/?authorization%5fid=1",
    "https://app.example.com/?error=",
    "https://app.example.com/done?session_id=1",
    "https://app.example.com/done?x=1&session_confirmation=forged",
    "https://app.example.com/done?x=1&session%5Fconfirmation=forged",
    // On the right origin, and not an address that was named.
    "https://app.example.com/redirect?to=//evil.example",
    "https://app.example.com/Done",
    "https://app.example.com/done/",
    "https://app.example.com/done/more",
    "https://app.example.com/don",
    "https://app.example.com/done;x",
    "https://app.example.com/done/../redirect",
    "https://app.example.com/done/%2e%2e/redirect",
    "https://app.example.com/done/.%2E/redirect?to=//evil.example",
    "https://app.example.com/done%2f..%2fredirect",
    "https://app.example.com/%64one",
    "https://app.example.com/done%20",
    "https://app.example.com./done",
    "https://app.example.com:8444/",
    "https://app.example.com:8443/done",
    "https://b\u{fc}cher.example/fertig",
    "https://xn--bcher-kva.example/",
    "https://app。example。com/",
    "https://ａpp.example.com/",
    "https://аpp.example.com/",
    "https://xn--pp-7ka.example.com/",
    "https://[app.example.com]/",
    "javascript:alert(1)",
    "JaVaScRiPt:alert(1)",
    "javascript://app.example.com/%0aalert(1)",
    "data:text/html,<script>alert(1)</script>",
    "vbscript:msgbox(1)",
    "file:///etc/passwd",
    "ftp://app.example.com/",
    "blob:https://app.example.com/1",
    "view-source:https://app.example.com/",
    "https+x://app.example.com/",
    "null",
    "about:blank",
    "http://2130706433/",
    "http://0x7f000001/",
    "http://0177.0.0.1/",
    "http://127.1/",
    "http://128.0.0.1/",
    "http://127.0.0.1.evil.example/",
    "http://localhost.evil.example/",
    "http://localhost@evil.example/",
    "http://[::ffff:127.0.0.1]/",
    "http://[0:0:0:0:0:0:0:1]/",
    "http://0.0.0.0/",
];

/// What must be accepted.
const HONEST: &[&str] = &[
    "https://app.example.com",
    "https://app.example.com/",
    "https://app.example.com:443/done",
    "HTTPS://APP.EXAMPLE.COM/done",
    "https://app.example.com/a/../done?to=//evil.example",
    "https://app.example.com/%2e/done",
    "https://app.example.com/done?x=1&y=%20%C3%A4",
    "https://app.example.com/a/b/../c;p=1?next=%2Fhome&list[]=1",
];

#[test]
fn open_redirect_corpus() {
    assert!(HOSTILE.len() >= 60);
    for raw in HOSTILE {
        for allow_loopback in [false, true] {
            assert!(check(raw, &policy(allow_loopback)).is_err(), "accepted {raw:?}");
        }
    }
    let long = format!("https://app.example.com/{}", "a".repeat(RETURN_TO_BYTES_MAX));
    assert!(check(&long, &policy(false)).is_err());
    for raw in HONEST {
        let url = check(raw, &policy(false)).unwrap_or_else(|error| panic!("refused {raw}: {error}"));
        assert_eq!(url.origin().ascii_serialization(), "https://app.example.com");
    }
    for raw in [
        "https://xn--bcher-kva.example/fertig?x=1",
        "https://app.example.com:8444/done",
    ] {
        assert!(check(raw, &policy(false)).is_ok(), "{raw}");
    }
}

#[test]
fn loopback_is_for_development_only() {
    for raw in [
        "http://127.0.0.1:3000/done",
        "http://[::1]:3000/done",
        "http://localhost/done?x=1",
        "http://127.0.0.2/",
        "http://127.255.255.254:1/any/path?x=1",
        "https://localhost:8443",
    ] {
        assert!(check(raw, &policy(true)).is_ok(), "{raw}");
        assert!(check(raw, &policy(false)).is_err(), "{raw}");
    }
}

proptest! {
    #[test]
    fn whatever_is_accepted_is_an_allowed_address(
        prefix in "(https?:[/\\\\]{0,3})?",
        middle in "[a-z@:#?%./\\\\\\[\\]0-9]{0,24}",
        host in "(app\\.example\\.com|evil\\.example|localhost)?",
        suffix in "(/done)?[\\x00-\\x7f]{0,24}",
    ) {
        let raw = format!("{prefix}{middle}{host}{suffix}");
        if let Ok(url) = check(&raw, &policy(false)) {
            let parsed = Url::parse(&raw).unwrap();
            let mut bare = parsed.clone();
            bare.set_query(None);
            prop_assert!(policy(false).allowed_return_urls.contains(&bare), "{}", bare);
            prop_assert!(url.fragment().is_none() && url.username().is_empty());
            prop_assert!(!url.path().starts_with("//"));
            // What we send parses to the same place again.
            prop_assert_eq!(Url::parse(url.as_str()).unwrap(), url);
        }
    }

    #[test]
    fn any_text_is_answered_without_panic(raw in "\\PC{0,64}") {
        let _ = check(&raw, &policy(true));
    }
}
