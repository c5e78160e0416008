//! What is unsafe or unknown is refused, by its key.

use super::*;

/// Every refusal of a production configuration.
#[test]
fn config_matrix() {
    let key = |bytes: [u8; 32]| {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.encode(bytes)
    };
    let counting: [u8; 32] = std::array::from_fn(|index| index as u8);
    let keys = |keys: &str| format!("[encryption]\nkeys = {keys}");
    let acme =
        |more: &str| format!("[providers.acme]\ntype = 'oidc'\nissuer = 'https://id.acme.example'\n{more}");
    for (key, more) in [
        (
            "server.environment",
            "[server]\nenvironment = 'staging'".to_owned(),
        ),
        ("server.listen", "[server]\nlisten = 'localhost'".to_owned()),
        (
            "server.public_url",
            "[server]\npublic_url = 'http://oauth.example.com'".to_owned(),
        ),
        (
            "server.public_url",
            "[server]\npublic_url = 'http://127.0.0.1:8002'".to_owned(),
        ),
        (
            "server.public_url",
            "[server]\npublic_url = 'http://localhost:8002'".to_owned(),
        ),
        (
            "server.public_url",
            "[server]\npublic_url = 'https://oauth.example.com/path'".to_owned(),
        ),
        (
            "server.public_url",
            "[server]\npublic_url = 'https://u:p@oauth.example.com'".to_owned(),
        ),
        (
            "server.allowed_origins",
            "[server]\nallowed_origins = ['*']".to_owned(),
        ),
        (
            "server.allowed_return_urls",
            "[server]\nallowed_return_urls = ['https://*.x.example/done']".to_owned(),
        ),
        (
            "server.allowed_return_urls",
            "[server]\nallowed_return_urls = ['http://127.0.0.1:3/done']".to_owned(),
        ),
        (
            "server.allowed_return_urls",
            "[server]\nallowed_return_urls = ['https://app.example/done?x=1']".to_owned(),
        ),
        (
            "server.allowed_return_urls",
            "[server]\nallowed_return_urls = ['https://app.example/done#x']".to_owned(),
        ),
        // As it was called when it took origins.
        (
            "server.allowed_return_origins",
            "[server]\nallowed_return_origins = ['https://app.example']".to_owned(),
        ),
        (
            "timings.shutdown_delay",
            "[timings]\nshutdown_grace = '10s'\nshutdown_delay = '6s'".to_owned(),
        ),
        (
            "server.metrics_listen",
            "[server]\nmetrics_listen = '127.0.0.1:8002'".to_owned(),
        ),
        (
            "server.body_limit_bytes",
            "[server]\nbody_limit_bytes = 0".to_owned(),
        ),
        (
            "server.max_connections",
            "[server]\nmax_connections = 0".to_owned(),
        ),
        (
            "server.request_deadline",
            "[server]\nrequest_deadline = '0s'".to_owned(),
        ),
        (
            "server.request_deadline",
            "[server]\nrequest_deadline = 30".to_owned(),
        ),
        ("server.listn", "[server]\nlistn = 'x'".to_owned()),
        ("database.url", "[database]\nurl = ''".to_owned()),
        (
            "database.max_connections",
            "[database]\nmax_connections = 0".to_owned(),
        ),
        (
            "database.max_connections",
            "[database]\nmax_connections = 'many'".to_owned(),
        ),
        (
            "database.wait_timeout",
            "[database]\nwait_timeout = '0s'".to_owned(),
        ),
        ("encryption.keys", keys("[]")),
        ("encryption.keys", keys("['k1:AAAA']")),
        ("encryption.keys", keys("['k1:not base64']")),
        ("encryption.keys", keys(&format!("[':{KEY}']"))),
        ("encryption.keys", keys(&format!("['k1:{KEY}', 'k1:{KEY}']"))),
        ("encryption.keys", keys(&format!("['k1:{}']", key([0; 32])))),
        ("encryption.keys", keys(&format!("['k1:{}']", key([0xab; 32])))),
        ("encryption.keys", keys(&format!("['k1:{}']", key(counting)))),
        (
            "encryption.keys",
            keys(&format!("['k1:{}']", key(*b"a passphrase is not a random key"))),
        ),
        ("auth.hs256_secret", "[auth]\nhs256_secret = 'short'".to_owned()),
        (
            "auth.hs256_secret",
            "[auth]\njwks_url = 'https://app.example/jwks'".to_owned(),
        ),
        (
            "auth.jwks_url",
            "[auth]\njwks_url = 'http://app.example/jwks'".to_owned(),
        ),
        ("auth.leeway", "[auth]\nleeway = '1h'".to_owned()),
        (
            "providers.google.client_secret",
            "[providers.google]\nclient_id = 'a'".to_owned(),
        ),
        (
            "providers.google.type",
            "[providers.google]\ntype = 'oidc'".to_owned(),
        ),
        (
            "providers.google.client_idd",
            "[providers.google]\nclient_idd = 'a'".to_owned(),
        ),
        (
            "providers.google.token_endpoint",
            "[providers.google]\ntoken_endpoint = 'http://x.example/t'".to_owned(),
        ),
        (
            "providers.google.token_endpoint",
            "[providers.google]\ntoken_endpoint = 'https://127.0.0.1/t'".to_owned(),
        ),
        (
            "providers.google.token_endpoint",
            "[providers.google]\ntoken_endpoint = 'https://localhost/t'".to_owned(),
        ),
        (
            "providers.google.allow_loopback",
            "[providers.google]\nallow_loopback = true".to_owned(),
        ),
        (
            "providers.google.tenant",
            "[providers.google]\ntenant = 'common'".to_owned(),
        ),
        (
            "providers.microsoft.tenant",
            "[providers.microsoft]\ntenant = '../x'".to_owned(),
        ),
        ("providers.Acme", "[providers.Acme]\ntype = 'oidc'".to_owned()),
        ("providers.my_idp", "[providers.my_idp]\ntype = 'oidc'".to_owned()),
        (
            "providers.acme.type",
            "[providers.acme]\nclient_id = 'a'\nclient_secret = 'b'".to_owned(),
        ),
        (
            "providers.acme.issuer",
            "[providers.acme]\ntype = 'oidc'".to_owned(),
        ),
        (
            "providers.acme.token_endpoint",
            "[providers.acme]\ntype = 'oauth2'".to_owned(),
        ),
        ("providers.acme.refresh_class", acme("refresh_class = 'grace'")),
        ("providers.acme.pkce", acme("pkce = 'plain'")),
        ("providers.acme.client_auth", acme("client_auth = 'jwt'")),
        ("providers.acme.max_concurrency", acme("max_concurrency = 0")),
        ("providers.acme.keep_alive", acme("keep_alive = '5s'")),
        (
            "providers.acme.refresh_token_lifetime",
            acme("refresh_token_lifetime = '1m'"),
        ),
        (
            "providers.acme.publishing_status",
            acme("publishing_status = 'testing'"),
        ),
        (
            "providers.google.publishing_status",
            "[providers.google]\npublishing_status = 'beta'".to_owned(),
        ),
        (
            "providers.acme.authorize_params.state",
            acme("authorize_params = { state = 'x' }"),
        ),
        (
            "providers.acme.authorize_params.request",
            acme("authorize_params = { request = 'x' }"),
        ),
        (
            "providers.acme.authorize_params.request_uri",
            acme("authorize_params = { request_uri = 'x' }"),
        ),
        (
            "providers.acme.authorize_params.response_mode",
            acme("authorize_params = { response_mode = 'form_post' }"),
        ),
        (
            "providers.acme.authorize_params.client_secret",
            acme("authorize_params = { client_secret = 'x' }"),
        ),
        (
            "providers.acme.authorization_endpoint",
            acme("authorization_endpoint = 'https://id.acme.example/a?response_mode=form_post'"),
        ),
        (
            "providers.acme.token_endpoint",
            acme("token_endpoint = 'https://{shop}.acme.example/token'"),
        ),
        (
            "providers.acme.token_endpoint",
            acme("token_endpoint = 'https://id.acme.example/<tenant>/token'"),
        ),
        (
            "providers.acme.token_endpoint",
            acme("token_endpoint = 'https://id.acme.example/{tenant}/token'"),
        ),
        (
            "providers.acme.token_endpoint",
            acme("token_endpoint = 'https://10.1.2.3/token'"),
        ),
        (
            "providers.acme.token_endpoint",
            acme("allow_private_network = true\ntoken_endpoint = 'https://169.254.169.254/token'"),
        ),
        (
            "server.trusted_proxies",
            "[server]\ntrusted_proxies = ['proxy.example']".to_owned(),
        ),
        (
            "server.trusted_proxies",
            "[server]\ntrusted_proxies = ['0.0.0.0/0']".to_owned(),
        ),
        ("server.docs", "[server]\ndocs = true".to_owned()),
        ("auth.hs256_secret", format!("[auth]\nhs256_secret = ' {SECRET}'")),
        (
            "providers.acme.token_response.token_types",
            acme("token_response = { token_types = ['DPoP'] }"),
        ),
        (
            "providers.acme.token_response.token_types",
            acme("token_response = { token_types = [' '] }"),
        ),
        (
            "providers.acme.token_response.token_pointer",
            acme("token_response = { token_pointer = 'authed_user' }"),
        ),
        (
            "providers.acme.token_response.members.scope",
            acme("token_response = { members = { scope = '' } }"),
        ),
        (
            "providers.acme.token_response.members.expires",
            acme("token_response = { members = { expires = 'x' } }"),
        ),
        (
            "providers.acme.scopes.\"a b\"",
            acme("scopes = { 'a b' = { implied_by = ['c'] } }"),
        ),
        (
            "providers.acme.scopes.\"a\"",
            acme("scopes = { a = { implied_by = [''] } }"),
        ),
        (
            "providers.acme.token_response.nonce",
            acme("token_response = { nonce = 'off' }"),
        ),
        (
            "providers.acme.features.\"profile\"",
            acme("features = { profile = ['openid'] }"),
        ),
        (
            "providers.acme.features.\"acme.x\"",
            acme("features = { 'acme.x' = ['a\"b'] }"),
        ),
        (
            "providers.acme.features.\"acme.y\"",
            acme("features = { 'acme.y' = { scopes = ['a'], optional_scopes = ['b c'] } }"),
        ),
        (
            "providers.acme.features.acme.z.dangerous",
            acme("features = { 'acme.z' = { scopes = ['a'], dangerous = true } }"),
        ),
        ("providers.acme.errors.dead", acme("errors = { dead = [''] }")),
        ("providers.acme.errors.dead", acme("errors = { dead = [' x'] }")),
        (
            "providers.acme.errors.admin",
            acme("errors = { admin = [{ pointer = 'status', equals = 'X' }] }"),
        ),
        (
            "providers.acme.errors.admin",
            acme("errors = { admin = [{ pointer = '/a~2', equals = 'X' }] }"),
        ),
        (
            "providers.acme.errors.client",
            acme("errors = { dead = ['Bad_Token'], client = ['bad_token'] }"),
        ),
        (
            "providers.acme.errors.deadly",
            acme("errors = { deadly = ['x'] }"),
        ),
        (
            "residency.idle_after",
            "[residency]\nidle_after = 'sometimes'".to_owned(),
        ),
        (
            "timings.provider_deadline",
            "[timings]\nprovider_deadline = '15s'".to_owned(),
        ),
        (
            "timings.authorization_ttl",
            "[timings]\nauthorization_ttl = '2h'".to_owned(),
        ),
        ("log.filter", "[log]\nfilter = 'a=b=c'".to_owned()),
        ("log.format", "[log]\nformat = 'xml'".to_owned()),
        ("sever", "[sever]\nlisten = 'x'".to_owned()),
    ] {
        let result = load(&production(), &more, &[]);
        assert!(result.is_err(), "accepted: {more}");
        assert_refused(result, key);
    }
}

#[test]
fn production_needs_what_development_does_without() {
    let bare = "[database]\nurl = 'postgres://u@db/x'\n";
    let error = load(bare, "", &[]).unwrap_err();
    let keys: Vec<&str> = error
        .problems()
        .iter()
        .map(|problem| problem.key.as_str())
        .collect();
    assert_eq!(
        keys,
        ["server.public_url", "encryption.keys", "auth.hs256_secret"]
    );
    assert_eq!(error.to_string().lines().count(), 3);
}

#[test]
fn config_refuses_plain_http_redirect() {
    for url in [
        "http://localhost:8002",
        "http://oauth.example.com",
        "http://127.0.0.2:8002",
    ] {
        assert_refused(
            load(&development(), &format!("[server]\npublic_url = '{url}'"), &[]),
            "server.public_url",
        );
    }
    for url in ["http://127.0.0.1:8002", "http://[::1]:8002"] {
        assert!(
            load(&development(), &format!("[server]\npublic_url = '{url}'"), &[]).is_ok(),
            "{url}"
        );
    }
}

/// The other side of the refusals above.
#[test]
fn what_looks_like_it_and_is_legitimate_is_taken() {
    let acme = "[providers.acme]\ntype = 'oidc'\nissuer = 'https://id.acme.example'\nclient_id = 'a'\nclient_secret = 'b'\n";
    for more in [
        "authorize_params = { response_mode = 'query', prompt = 'consent', audience = 'x' }",
        "authorization_endpoint = 'https://id.acme.example/authorize?tenant=x&response_mode=query'",
        "allow_private_network = true\ntoken_endpoint = 'https://10.1.2.3/token'\njwks_uri = 'https://[fc00::1]/keys'",
    ] {
        load(&production(), &format!("{acme}{more}"), &[]).unwrap_or_else(|error| panic!("{more}: {error}"));
    }
    let tenant = "[providers.microsoft]\ntoken_endpoint = 'https://login.example.com/{tenant}/token'\n\
                  issuer = 'https://login.example.com/{tenantid}/v2.0'";
    load(&production(), tenant, &[]).unwrap();
    let keys = "[auth]\njwks_url = 'https://10.1.2.3/keys'";
    let without_secret = production().replace(&format!("hs256_secret = '{SECRET}'"), "");
    load(&without_secret, keys, &[]).unwrap();
    let proxies = load(
        &production(),
        "[server]\ntrusted_proxies = ['10.0.0.7', 'fd00::/8']",
        &[],
    )
    .unwrap();
    assert_eq!(proxies.server.trusted_proxies.len(), 2);
}

#[test]
fn a_providers_own_words_for_failures_are_read_in_every_form() {
    let more = "[providers.acme]\ntype = 'oidc'\nissuer = 'https://id.acme.example'\n[providers.acme.errors]\n\
                dead = ['invalid client id', { pointer = '/status', equals = 'BAD_REFRESH_TOKEN' }]\n\
                admin = [{ pointer = '/error/code', equals = 190 }, { pointer = '/ok', equals = false }]\n";
    let variable = "OAUTH_MANAGER__PROVIDERS__ACME__ERRORS__CLIENT";
    let config = load(
        &production(),
        more,
        &[(variable, "unauthorized_client,access_denied")],
    )
    .unwrap();
    let errors = &config.providers["acme"].errors;
    let at = |pointer: &str, equals| ErrorSign::Value {
        pointer: pointer.to_owned(),
        equals,
    };
    assert_eq!(
        errors.dead,
        [
            ErrorSign::Code("invalid client id".to_owned()),
            at("/status", SignValue::Text("BAD_REFRESH_TOKEN".to_owned())),
        ]
    );
    assert_eq!(
        errors.admin,
        [
            at("/error/code", SignValue::Number(190)),
            at("/ok", SignValue::Bool(false)),
        ]
    );
    assert_eq!(errors.client.len(), 2);
}

#[test]
fn a_pointer_entry_without_what_is_expected_there_is_refused() {
    let acme = |list: &str| {
        format!(
            "[providers.acme]\ntype = 'oidc'\nissuer = 'https://id.acme.example'\nerrors = {{ dead = {list} }}"
        )
    };
    for list in [
        "[{ pointer = '/status' }]",
        "[{ pointer = '/status', equals = 1.5 }]",
        "[7]",
    ] {
        let error = load(&production(), &acme(list), &[])
            .map(|_| ())
            .unwrap_err()
            .to_string();
        assert!(error.contains("providers.acme.errors.dead"), "{error}");
    }
}
