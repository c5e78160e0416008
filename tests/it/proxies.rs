//! Behind proxies: whose word about where a request came from is believed, seen in the audit.

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::harness::{Service, ServiceOptions, user_token};

/// What is answered to so many callbacks that nobody awaits, brought by the proxy for this client.
async fn strays(service: &Service, client: &str, count: usize) -> Vec<u16> {
    let callback = format!("{}/api/v1/oauth/callback/google?code=x&state=y", service.base_url);
    let mut answers = Vec::new();
    for _ in 0..count {
        let request = service.http.get(&callback).header("x-forwarded-for", client);
        answers.push(request.send().await.unwrap().status().as_u16());
    }
    answers
}

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

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_trusted_proxy_each_client_fails_at_its_own_expense() {
    let service = Service::start_with(ServiceOptions {
        extra_toml: "[limits]\nfailures_per_minute = 20\n".into(),
        change_toml: |toml| trusting(toml, "127.0.0.0/8"),
        ..ServiceOptions::default()
    })
    .await;
    for greedy in ["203.0.113.9", "2001:db8::9"] {
        let answers = strays(&service, greedy, 60).await;
        assert!(answers.contains(&429), "{greedy}: {answers:?}");
    }
    let same_network = strays(&service, "2001:db8::1:0:0:7", 5).await;
    assert!(same_network.contains(&429), "{same_network:?}");
    for other in ["203.0.113.10", "2001:db8:0:1::9"] {
        assert_eq!(strays(&service, other, 1).await, [400], "{other}");
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trusted_proxy_keeps_more_connections_than_one_address_may() {
    const KEPT: usize = 30;
    let service = Service::start_with(ServiceOptions {
        extra_toml: "[limits]\nconnections_per_address_percent = 25\n".into(),
        change_toml: |toml| {
            trusting(toml, "127.0.0.0/8").replacen("[server]\n", "[server]\nmax_connections = 40\n", 1)
        },
        ..ServiceOptions::default()
    })
    .await;
    let address = service.base_url.strip_prefix("http://").unwrap();
    let mut kept = Vec::new();
    for _ in 0..KEPT {
        kept.push(TcpStream::connect(address).await.unwrap());
        // Each is asked again with every one that comes: none has been closed in favour of another.
        for stream in &mut kept {
            stream
                .write_all(b"GET /health HTTP/1.1\r\nhost: x\r\nx-forwarded-for: 203.0.113.9\r\n\r\n")
                .await
                .unwrap();
            let mut said = [0; 12];
            stream.read_exact(&mut said).await.unwrap();
            assert_eq!(&said, b"HTTP/1.1 200");
            let mut rest = Vec::new();
            while !rest.ends_with(b"}") {
                assert_ne!(stream.read_buf(&mut rest).await.unwrap(), 0);
            }
        }
    }
    drop(kept);
    service.stop().await;
}
