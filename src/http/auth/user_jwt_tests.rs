//! Attacks on JWTs (security.md, J1), and what an honest one needs.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicI64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use oauth_manager_actors::domain::Timestamp;
use ring::{
    hmac,
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair},
};
use serde_json::{Value, json};

use super::*;
use crate::http::settings::JwtSecret;
use zeroize::Zeroizing;

const SECRET: &[u8] = b"a shared secret of thirty-two by";
/// 2030-01-01T00:00:00Z
const NOW: i64 = 1_893_456_000;
/// An RSA public key, and a token for `alice` that its private half signed (it ends ten minutes after [`NOW`]).
const RSA_N: &str = "luyN2GRp7nm1Mmdx8rUt8EwribQ6Pc2NGMcMFHlKhq_OyUbWD-p6tkekzx5aufsSNZ8y9nkbkuMEkNiuWNnZm89Qv3za4W6Hj-LrbKm3LVIjL17pLxCglxU1dMlIjYuvvTlOIMAasOxwV_U7tnw36B2Dgi8hyY3e7msdu_Mat8wBpNHu146oDQTt8vAXWUgK1f4V5SytHXc5YHWzHuouupQdjylCwMYnUUQpgJ4wpyPI_KAZ8PI6dgMzjt3QyzQjoUx1-A-D72S6zbIqMXztc_iQNgXq56S73DE6RCijqVTCwwGukW34Dz-ldyU3oYholvGSv_SEbSFoc29mq2MGWQ";
const RSA_TOKEN: &str = "eyJhbGciOiJSUzI1NiIsImtpZCI6InJzYSIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhbGljZSIsImV4cCI6MTg5MzQ1NjYwMH0.Vxz2SDGp6PfvAozXij79XCKDFoAkbRP_pXS_FMGYfdaMKGy6YHCsRRQl3XoPJebxPYM46utkZF42bnxlDL6GDCY8f16IlpXwWCFMX1sHcTEqEUBkdt2gOhlzyVNTWITxHepQROrjDbYzGHfcSbxq_Yp0tEZuk8EgeHyzYNd5qCKadCSAfnRMzlb5hEO07aq78LYs-Rw4gXHZiA28Emp9TNHv1JDvVOcNxO95WEDQFzqE9w33eER2J_bHnkoBOqLoFcwKrgq34MAYstXHxIDdSO4mtE9YWEjm5o3O2PBLchH5pRp_omqrZfDZXRElhiuK2DlkxWwxgQlrQ3l_Dw65HA";

fn clock() -> (Arc<AtomicI64>, Now) {
    let seconds = Arc::new(AtomicI64::new(NOW));
    let read = Arc::clone(&seconds);
    let now: Now = Arc::new(move || Timestamp::from_second(read.load(Ordering::SeqCst)).unwrap());
    (seconds, now)
}

fn settings(keys: JwtKeys) -> UserJwtSettings {
    UserJwtSettings {
        keys,
        issuer: None,
        audience: None,
        leeway: Duration::from_secs(30),
    }
}

fn by_secret(change: impl FnOnce(&mut UserJwtSettings)) -> UserJwt {
    let mut settings = settings(JwtKeys::Hs256(JwtSecret::new(SECRET)));
    change(&mut settings);
    UserJwt::new(Some(settings), None, clock().1)
}

fn part(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

fn hs256(header: &Value, claims: &str, secret: &[u8]) -> String {
    let message = format!("{}.{}", part(header), URL_SAFE_NO_PAD.encode(claims));
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let signature = hmac::sign(&key, message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn signed(claims: &Value) -> String {
    hs256(
        &json!({"alg": "HS256", "typ": "JWT"}),
        &claims.to_string(),
        SECRET,
    )
}

fn honest() -> Value {
    json!({"sub": "alice", "exp": NOW + 600})
}

async fn refusal(users: &UserJwt, token: &str) -> bool {
    matches!(
        users.subject(token).await,
        Err(Problem::Service(ServiceError::Unauthenticated { .. }))
    )
}

#[tokio::test]
async fn an_honest_token_names_its_user() {
    let users = by_secret(|_| ());
    assert_eq!(users.subject(&signed(&honest())).await.unwrap().as_str(), "alice");
    let fractional = json!({"sub": "alice", "exp": NOW as f64 + 0.5, "nbf": NOW, "iat": NOW, "scope": "x"});
    assert!(users.subject(&signed(&fractional)).await.is_ok());
}

#[tokio::test]
async fn jwt_attack_corpus() {
    let users = by_secret(|_| ());
    assert!(
        users.subject(&signed(&honest())).await.is_ok(),
        "the control must pass"
    );
    let honest_text = honest().to_string();
    let with_header = |header: Value| hs256(&header, &honest_text, SECRET);
    let none = format!("{}.{}.", part(&json!({"alg": "none"})), part(&honest()));
    let good = signed(&honest());
    let (message, signature) = good.rsplit_once('.').unwrap();
    let forged_claims = {
        let (header, _) = message.split_once('.').unwrap();
        format!(
            "{header}.{}.{signature}",
            part(&json!({"sub": "bob", "exp": NOW + 600}))
        )
    };
    let corpus = [
        ("none", none.clone()),
        ("none with a signature", format!("{none}x")),
        ("None", with_header(json!({"alg": "None"}))),
        ("nOnE", with_header(json!({"alg": "nOnE"}))),
        ("empty alg", with_header(json!({"alg": ""}))),
        ("no alg", with_header(json!({"typ": "JWT"}))),
        ("alg of another type", with_header(json!({"alg": ["HS256"]}))),
        ("HS384", with_header(json!({"alg": "HS384"}))),
        ("RS256 by secret", with_header(json!({"alg": "RS256"}))),
        ("ES256 by secret", with_header(json!({"alg": "ES256"}))),
        ("EdDSA by secret", with_header(json!({"alg": "EdDSA"}))),
        ("an RSA token where a secret is configured", RSA_TOKEN.into()),
        ("crit", with_header(json!({"alg": "HS256", "crit": ["exp"]}))),
        ("empty crit", with_header(json!({"alg": "HS256", "crit": []}))),
        (
            "b64 false",
            with_header(json!({"alg": "HS256", "b64": false, "crit": ["b64"]})),
        ),
        (
            "b64 without crit",
            with_header(json!({"alg": "HS256", "b64": false})),
        ),
        ("enc", with_header(json!({"alg": "HS256", "enc": "A256GCM"}))),
        ("zip", with_header(json!({"alg": "HS256", "zip": "DEF"}))),
        (
            "another type",
            with_header(json!({"alg": "HS256", "typ": "logout+jwt"})),
        ),
        ("repeated alg", {
            let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"none","alg":"HS256"}"#);
            format!("{header}.{}.{signature}", part(&honest()))
        }),
        (
            "wrong secret",
            hs256(&json!({"alg": "HS256"}), &honest_text, b"another"),
        ),
        ("empty secret", hs256(&json!({"alg": "HS256"}), &honest_text, b"")),
        ("forged claims", forged_claims),
        ("cut signature", good[..good.len() - 2].to_owned()),
        ("no signature", format!("{message}.")),
        ("two parts", message.to_owned()),
        ("four parts", format!("{good}.x")),
        ("five parts, as a JWE", format!("{good}.x.y")),
        ("a JWT as claims", {
            let header = json!({"alg": "HS256", "cty": "JWT"});
            hs256(&header, &good, SECRET)
        }),
        ("padding", format!("{good}=")),
        ("a space", format!("{good} ")),
        ("empty", String::new()),
        ("dots", "..".into()),
        ("huge", format!("{good}{}", "A".repeat(64 * 1024))),
        ("no exp", signed(&json!({"sub": "alice"}))),
        ("exp null", signed(&json!({"sub": "alice", "exp": null}))),
        (
            "exp text",
            signed(&json!({"sub": "alice", "exp": (NOW + 600).to_string()})),
        ),
        ("exp list", signed(&json!({"sub": "alice", "exp": [NOW + 600]}))),
        ("expired", signed(&json!({"sub": "alice", "exp": NOW - 31}))),
        ("negative exp", signed(&json!({"sub": "alice", "exp": -1}))),
        (
            "not yet",
            signed(&json!({"sub": "alice", "exp": NOW + 600, "nbf": NOW + 31})),
        ),
        (
            "nbf text",
            signed(&json!({"sub": "alice", "exp": NOW + 600, "nbf": "0"})),
        ),
        ("no sub", signed(&json!({"exp": NOW + 600}))),
        ("sub number", signed(&json!({"sub": 1, "exp": NOW + 600}))),
        ("empty sub", signed(&json!({"sub": "", "exp": NOW + 600}))),
        (
            "sub with a line end",
            signed(&json!({"sub": "alice\n", "exp": NOW + 600})),
        ),
        (
            "repeated sub",
            hs256(
                &json!({"alg": "HS256"}),
                &format!(r#"{{"sub":"alice","sub":"bob","exp":{}}}"#, NOW + 600),
                SECRET,
            ),
        ),
        (
            "repeated exp",
            hs256(
                &json!({"alg": "HS256"}),
                &format!(r#"{{"sub":"alice","exp":1,"exp":{}}}"#, NOW + 600),
                SECRET,
            ),
        ),
        (
            "claims that are no object",
            hs256(&json!({"alg": "HS256"}), "[]", SECRET),
        ),
    ];
    for (attack, token) in corpus {
        assert!(refusal(&users, &token).await, "{attack}");
    }
}

#[tokio::test]
async fn leeway_covers_clocks_that_differ_and_no_more() {
    let users = by_secret(|_| ());
    assert!(
        users
            .subject(&signed(&json!({"sub": "alice", "exp": NOW - 29})))
            .await
            .is_ok()
    );
    assert!(refusal(&users, &signed(&json!({"sub": "alice", "exp": NOW - 30}))).await);
    assert!(
        users
            .subject(&signed(&json!({"sub": "alice", "exp": NOW + 9, "nbf": NOW + 30})))
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn issuer_and_audience_are_checked_when_configured() {
    let users = by_secret(|settings| {
        settings.issuer = Some("https://app.example.com".into());
        settings.audience = Some("oauth-manager".into());
    });
    let claims =
        |iss: Value, aud: Value| signed(&json!({"sub": "alice", "exp": NOW + 600, "iss": iss, "aud": aud}));
    let (iss, aud) = (json!("https://app.example.com"), json!("oauth-manager"));
    assert!(users.subject(&claims(iss.clone(), aud.clone())).await.is_ok());
    assert!(
        users
            .subject(&claims(iss.clone(), json!(["x", "oauth-manager"])))
            .await
            .is_ok()
    );
    for (wrong_iss, wrong_aud) in [
        (json!("https://app.example.com/"), aud.clone()),
        (json!(null), aud.clone()),
        (json!(["https://app.example.com"]), aud.clone()),
        (iss.clone(), json!("oauth")),
        (iss.clone(), json!([])),
        (iss.clone(), json!(null)),
        (iss, json!({"oauth-manager": 1})),
    ] {
        assert!(
            refusal(&users, &claims(wrong_iss.clone(), wrong_aud.clone())).await,
            "{wrong_iss} {wrong_aud}"
        );
    }
    assert!(refusal(&users, &signed(&honest())).await);
}

#[tokio::test]
async fn without_configuration_no_token_is_accepted() {
    let users = UserJwt::new(None, None, clock().1);
    assert!(refusal(&users, &signed(&honest())).await);
}

// === published keys ===

struct Published {
    answer: Mutex<Result<String, String>>,
    fetches: AtomicUsize,
}

impl Published {
    fn answer(&self, key_set: Value) {
        *self.answer.lock().unwrap() = Ok(key_set.to_string());
    }

    fn answer_text(&self, text: &str) {
        *self.answer.lock().unwrap() = Ok(text.to_owned());
    }

    fn refuse(&self) {
        *self.answer.lock().unwrap() = Err("connection refused".into());
    }

    fn fetches(&self) -> usize {
        self.fetches.load(Ordering::SeqCst)
    }
}

/// Of a token that outlasts what is kept.
fn lasting() -> Value {
    json!({"sub": "alice", "exp": NOW + 86_400})
}

struct Signers {
    ed: Ed25519KeyPair,
    ec: EcdsaKeyPair,
}

impl Signers {
    fn new() -> Self {
        let random = SystemRandom::new();
        let ed = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
        let ec = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        Self {
            ed: Ed25519KeyPair::from_pkcs8(ed.as_ref()).unwrap(),
            ec: EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, ec.as_ref(), &random).unwrap(),
        }
    }

    fn key_set(&self) -> Value {
        let point = self.ec.public_key().as_ref();
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        json!({"keys": [
            {"kty": "OKP", "crv": "Ed25519", "kid": "ed", "alg": "EdDSA", "use": "sig", "x": encode(self.ed.public_key().as_ref())},
            {"kty": "EC", "crv": "P-256", "kid": "ec", "x": encode(&point[1..33]), "y": encode(&point[33..])},
            {"kty": "RSA", "kid": "rsa", "n": RSA_N, "e": "AQAB"},
            {"kty": "RSA", "kid": "enc", "use": "enc", "n": RSA_N, "e": "AQAB"},
            {"kty": "RSA", "kid": "short", "n": &RSA_N[..100], "e": "AQAB"},
            {"kty": "oct", "kid": "oct", "k": encode(SECRET)},
            {"kty": "from the future", "kid": "new"},
            "nonsense",
        ]})
    }

    fn eddsa(&self, kid: Option<&str>) -> String {
        let message = format!(
            "{}.{}",
            part(&json!({"alg": "EdDSA", "kid": kid})),
            part(&lasting())
        );
        format!(
            "{message}.{}",
            URL_SAFE_NO_PAD.encode(self.ed.sign(message.as_bytes()))
        )
    }

    fn es256(&self, kid: &str) -> String {
        let message = format!(
            "{}.{}",
            part(&json!({"alg": "ES256", "kid": kid})),
            part(&lasting())
        );
        let signature = self.ec.sign(&SystemRandom::new(), message.as_bytes()).unwrap();
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

fn by_keys(answer: Result<Value, String>) -> (UserJwt, Arc<Published>, Arc<AtomicI64>) {
    let published = Arc::new(Published {
        answer: Mutex::new(answer.map(|key_set| key_set.to_string())),
        fetches: AtomicUsize::new(0),
    });
    let (seconds, now) = clock();
    let asked = published.clone();
    let keys = PublishedKeys::new(Box::new(move || {
        asked.fetches.fetch_add(1, Ordering::SeqCst);
        let answer = asked.answer.lock().unwrap().clone();
        Box::pin(async move { answer.map(|text| Zeroizing::new(text.into_bytes())) })
    }));
    let users = UserJwt::new(Some(settings(JwtKeys::Jwks)), Some(Arc::new(keys)), now);
    (users, published, seconds)
}

#[tokio::test]
async fn published_keys_check_each_their_own_algorithm() {
    let signers = Signers::new();
    let (users, published, _) = by_keys(Ok(signers.key_set()));
    for token in [
        signers.eddsa(Some("ed")),
        signers.eddsa(None),
        signers.es256("ec"),
        RSA_TOKEN.to_owned(),
    ] {
        assert_eq!(users.subject(&token).await.unwrap().as_str(), "alice");
    }
    assert_eq!(published.fetches.load(Ordering::SeqCst), 1);
    for unusable in ["enc", "short", "new"] {
        let header = part(&json!({"alg": "RS256", "kid": unusable}));
        let (_, rest) = RSA_TOKEN.split_once('.').unwrap();
        let problem = users.subject(&format!("{header}.{rest}")).await.unwrap_err();
        assert!(problem.to_string().contains("not among"), "{unusable}: {problem}");
    }
    let public_key = URL_SAFE_NO_PAD.decode(RSA_N).unwrap();
    for (attack, token) in [
        (
            "HS256 with the published key as secret",
            hs256(
                &json!({"alg": "HS256", "kid": "rsa"}),
                &honest().to_string(),
                &public_key,
            ),
        ),
        (
            "HS256 with its text as secret",
            hs256(
                &json!({"alg": "HS256", "kid": "rsa"}),
                &honest().to_string(),
                RSA_N.as_bytes(),
            ),
        ),
        (
            "a symmetric key that was published",
            hs256(
                &json!({"alg": "HS256", "kid": "oct"}),
                &honest().to_string(),
                SECRET,
            ),
        ),
        ("another key's id", signers.es256("ed")),
        ("an unknown id", signers.es256("../../etc/passwd")),
        ("an id with quotes", signers.es256("' OR 1=1 --")),
    ] {
        assert!(refusal(&users, &token).await, "{attack}");
    }
}

#[tokio::test]
async fn kid_injection_and_refetch_storm() {
    let signers = Signers::new();
    let (users, published, seconds) = by_keys(Ok(signers.key_set()));
    for attempt in 0..50 {
        assert!(refusal(&users, &signers.es256(&format!("unknown-{attempt}"))).await);
    }
    // One fetch for having none, and the unknown ids found the last one too recent.
    assert_eq!(published.fetches.load(Ordering::SeqCst), 1);
    // A key that was published meanwhile is found once the pause is over.
    let rotated = Signers::new();
    published.answer(rotated.key_set());
    seconds.fetch_add(31, Ordering::SeqCst);
    assert!(refusal(&users, &signers.es256("brand-new")).await);
    assert_eq!(published.fetches.load(Ordering::SeqCst), 2);
    assert!(users.subject(&rotated.es256("ec")).await.is_ok());
    assert!(refusal(&users, &signers.es256("ec")).await, "the withdrawn key");
}

#[tokio::test]
async fn keys_that_cannot_be_fetched_are_our_trouble_and_old_ones_still_serve() {
    let signers = Signers::new();
    let (users, published, seconds) = by_keys(Err("connection refused".into()));
    let problem = users.subject(&signers.es256("ec")).await.unwrap_err();
    assert_eq!((problem.status().as_u16(), problem.code()), (503, "overloaded"));
    published.answer(signers.key_set());
    seconds.fetch_add(2, Ordering::SeqCst);
    assert!(users.subject(&signers.es256("ec")).await.is_ok());
    published.refuse();
    seconds.fetch_add(605, Ordering::SeqCst);
    assert_eq!(
        users.subject(&signers.es256("ec")).await.unwrap().as_str(),
        "alice"
    );
    assert_eq!(published.fetches.load(Ordering::SeqCst), 3, "it was tried again");
}

#[tokio::test]
async fn a_good_key_set_is_never_replaced_by_one_without_usable_keys() {
    let signers = Signers::new();
    let (users, published, seconds) = by_keys(Ok(signers.key_set()));
    assert!(users.subject(&signers.es256("ec")).await.is_ok());
    let weak = json!({"keys": [{"kty": "RSA", "kid": "ec", "n": &RSA_N[..100], "e": "AQAB"}]}).to_string();
    for nothing in ["{}", r#"{"keys":[]}"#, "<html>busy</html>", "", "[]", &weak] {
        published.answer_text(nothing);
        let fetches = published.fetches();
        // Anybody can bring a look-up about, and an old set is fetched by itself.
        for (pause, token) in [(31, signers.es256("invented")), (700, signers.es256("ec"))] {
            seconds.fetch_add(pause, Ordering::SeqCst);
            let _ = users.subject(&token).await;
            assert_eq!(
                users.subject(&signers.es256("ec")).await.unwrap().as_str(),
                "alice",
                "{nothing}"
            );
        }
        assert!(published.fetches() > fetches, "{nothing}: it was tried");
    }
    // The control: a set with usable keys does replace it.
    let rotated = Signers::new();
    published.answer(rotated.key_set());
    seconds.fetch_add(31, Ordering::SeqCst);
    assert!(users.subject(&rotated.es256("ec")).await.is_ok());
    assert!(refusal(&users, &signers.es256("ec")).await);
}

#[tokio::test]
async fn invented_key_ids_bring_about_one_look_up_in_thirty_seconds() {
    let signers = Signers::new();
    let (users, published, seconds) = by_keys(Ok(signers.key_set()));
    assert!(users.subject(&signers.es256("ec")).await.is_ok());
    for second in 0..90 {
        seconds.fetch_add(1, Ordering::SeqCst);
        assert!(refusal(&users, &signers.es256(&format!("invented-{second}"))).await);
        assert!(refusal(&users, &Signers::new().eddsa(None)).await);
        assert!(users.subject(&signers.es256("ec")).await.is_ok());
    }
    assert!(published.fetches() <= 1 + 3, "{}", published.fetches());
}

#[tokio::test]
async fn a_jwt_of_nine_kilobytes_is_accepted() {
    let users = by_secret(|_| ());
    let mut claims = honest();
    claims["groups"] = json!("g".repeat(6_800));
    let token = signed(&claims);
    assert!(token.len() > 9_000);
    assert_eq!(users.subject(&token).await.unwrap().as_str(), "alice");
}

#[tokio::test]
async fn the_fully_specified_name_of_ed25519_is_eddsa() {
    let signers = Signers::new();
    let mut set = signers.key_set();
    let (users, published, seconds) = by_keys(Ok(set.clone()));
    let message = format!(
        "{}.{}",
        part(&json!({"alg": "Ed25519", "kid": "ed"})),
        part(&lasting())
    );
    let token = format!(
        "{message}.{}",
        URL_SAFE_NO_PAD.encode(signers.ed.sign(message.as_bytes()))
    );
    assert!(users.subject(&token).await.is_ok());
    set["keys"][0]["alg"] = json!("Ed25519");
    published.answer(set);
    seconds.fetch_add(700, Ordering::SeqCst);
    assert!(users.subject(&token).await.is_ok());
    assert!(users.subject(&signers.eddsa(Some("ed"))).await.is_ok());
}

#[tokio::test]
async fn a_byte_order_mark_before_the_published_keys_is_nobodys_data() {
    let signers = Signers::new();
    let (users, published, _) = by_keys(Err("not yet".into()));
    published.answer_text(&format!("\u{feff}{}", signers.key_set()));
    assert!(users.subject(&signers.es256("ec")).await.is_ok());
}
