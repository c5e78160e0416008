//! Behind proxies: whose word about where a request came from is believed, seen in the audit.

use crate::harness::{Service, ServiceOptions, user_token};

/// A service that believes these proxies, and what its audit says of a request with this `X-Forwarded-For`.
async fn audited_address(trusted: &str, forwarded: &[&str]) -> String {
    // Only plain functions change the configuration: the list is put in by its own table's end.
    let service = Service::start_with(ServiceOptions {
        extra_toml: String::new(),
        change_toml: match trusted {
            "" => |toml| toml,
            "127.0.0.0/8" => |toml| trusting(toml, "127.0.0.0/8"),
            _ => |toml| trusting(toml, "10.0.0.7"),
        },
        ..ServiceOptions::default()
    })
    .await;
    let mut request = service
        .http
        .get(format!("{}/api/v1/oauth/users/ada/export", service.base_url))
        .bearer_auth(user_token("ada"));
    for value in forwarded {
        request = request.header("x-forwarded-for", *value);
    }
    assert_eq!(request.send().await.unwrap().status(), 200);
    let written = "SELECT host(ip) FROM oauth_audit_log WHERE action = 'export'";
    let address = service.sql().await.query_one(written, &[]).await.unwrap().get(0);
    service.stop().await;
    address
}

fn trusting(toml: String, proxy: &str) -> String {
    toml.replacen(
        "[server]\n",
        &format!("[server]\ntrusted_proxies = [\"{proxy}\"]\n"),
        1,
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_names_the_client_behind_a_trusted_proxy() {
    assert_eq!(
        audited_address("127.0.0.0/8", &["203.0.113.9"]).await,
        "203.0.113.9"
    );
    // What the client itself wrote stands further left, and is not believed.
    assert_eq!(
        audited_address("127.0.0.0/8", &["6.6.6.6, 2001:db8::9", "127.0.0.3"]).await,
        "2001:db8::9"
    );
    assert_eq!(audited_address("127.0.0.0/8", &[]).await, "127.0.0.1");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_else_is_believed_about_where_a_request_came_from() {
    assert_eq!(audited_address("", &["203.0.113.9"]).await, "127.0.0.1");
    assert_eq!(
        audited_address("10.0.0.7", &["203.0.113.9, 10.0.0.7"]).await,
        "127.0.0.1"
    );
}
