//! What a consent is about, and how long it holds.

use std::collections::BTreeMap;

use super::*;
use crate::{
    domain::{
        consent::{Agreement, Agreements},
        ids::UserId,
        integration::{Owner, Standing},
    },
    integration::message::Recipient,
    testing::provider::provider,
};

fn key(name: &str) -> FeatureKey {
    format!("google.{name}").parse().unwrap()
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn agreement(version: &str, expires_at: Option<i64>) -> Agreement {
    Agreement {
        wording: version.parse().unwrap(),
        expires_at: expires_at.map(at),
        withdrawn: false,
    }
}

fn stored(on: &[&str], agreed: &[(&str, Agreement)], scopes: Option<Agreement>) -> StoredIntegration {
    StoredIntegration {
        id: "google_00000000000000000000000000000abc".parse().unwrap(),
        owner: Owner {
            user_id: UserId(uuid::Uuid::nil()),
            subject: "ada".parse().unwrap(),
        },
        account: crate::domain::account::Account {
            id: "1".into(),
            issuer: None,
            name: None,
            email: None,
        },
        standing: Standing::active(),
        scopes: ["openid", "read", "write"].into_iter().collect(),
        features: on.iter().map(|name| key(name)).collect(),
        agreements: Agreements {
            features: agreed
                .iter()
                .map(|(name, agreement)| (key(name), *agreement))
                .collect::<BTreeMap<_, _>>(),
            scopes,
        },
        metadata: serde_json::Value::Null,
        created_at: at(0),
        updated_at: at(0),
        last_refreshed_at: None,
        grant: None,
    }
}

/// Why a token asked for like this is refused at second 100, if so; the wording of every feature is at 2.3.
fn refused(stored: &StoredIntegration, feature: Option<&str>, scopes: &[&str]) -> Option<Lapse> {
    let mut google = provider("google");
    for feature in &mut google.features {
        feature.wording_version = "2.3".parse().unwrap();
    }
    let (feature, scopes) = (feature.map(key), scopes.iter().collect());
    let need = Need {
        recipient: &Recipient::InProcess,
        feature: feature.as_ref(),
        scopes: &scopes,
    };
    match holds(&google, stored, &need, at(100)) {
        Ok(()) => None,
        Err(ServiceError::ConsentRequired { lapse, .. }) => Some(lapse),
        Err(other) => panic!("{other:?}"),
    }
}

#[test]
fn a_feature_is_about_its_own_scopes_and_those_of_none() {
    let all: ScopeSet = ["openid", "read", "write"].into_iter().collect();
    let of = |name: &str| part(&provider("google"), &key(name), &all).to_strings();
    assert_eq!(of("read"), ["openid", "read"]);
    assert_eq!(of("write"), ["openid", "write"]);
}

#[test]
fn a_consent_holds_until_its_end_and_for_its_major_wording() {
    for (agreed, lapse) in [
        (agreement("2.0", None), None),
        (agreement("2.9", None), None),
        (agreement("3.0", None), None),
        (agreement("1.9", None), Some(Lapse::WordingChanged)),
        (agreement("2.3", Some(101)), None),
        (agreement("2.3", Some(100)), Some(Lapse::Expired)),
        (agreement("1.0", Some(99)), Some(Lapse::Expired)),
    ] {
        let stored = stored(&["read"], &[("read", agreed)], None);
        for (feature, scopes) in [(Some("read"), &[][..]), (None, &["read"]), (None, &[])] {
            assert_eq!(
                refused(&stored, feature, scopes),
                lapse,
                "{agreed:?} {feature:?} {scopes:?}"
            );
        }
    }
    // Switched on before versions were kept: to the first words.
    assert_eq!(
        refused(&stored(&["read"], &[], None), Some("read"), &[]),
        Some(Lapse::WordingChanged)
    );
}

#[test]
fn one_consent_that_ended_stops_its_own_feature_and_the_last_one_everything() {
    let (holds, ended) = (agreement("2.3", None), agreement("2.3", Some(1)));
    let both = stored(&["read", "write"], &[("read", holds), ("write", ended)], None);
    assert_eq!(refused(&both, Some("read"), &[]), None);
    assert_eq!(refused(&both, None, &["read"]), None);
    assert_eq!(refused(&both, None, &[]), None);
    assert_eq!(refused(&both, Some("write"), &[]), Some(Lapse::Expired));
    assert_eq!(refused(&both, None, &["read", "write"]), Some(Lapse::Expired));
    let none = stored(&["write"], &[("read", holds), ("write", ended)], None);
    assert!(refused(&none, None, &[]).is_some());
    // Scopes asked for by name have a consent of their own.
    let by_name = stored(&[], &[], Some(agreement("1.0", None)));
    assert_eq!(refused(&by_name, None, &["read"]), None);
    let taken_back = Agreement {
        withdrawn: true,
        ..agreement("1.0", None)
    };
    assert_eq!(
        refused(&stored(&[], &[], Some(taken_back)), None, &["read"]),
        Some(Lapse::Withdrawn)
    );
    // Connected before any of this was kept.
    assert_eq!(refused(&stored(&[], &[], None), None, &["read"]), None);
}

#[test]
fn agreements_are_read_as_they_were_written() {
    let agreements = Agreements {
        features: [
            (key("read"), agreement("2.3", Some(5))),
            (key("write"), agreement("1.0", None)),
        ]
        .into(),
        scopes: Some(Agreement {
            withdrawn: true,
            ..agreement("1.0", None)
        }),
    };
    assert_eq!(Agreements::from_json(agreements.to_json()).unwrap(), agreements);
    assert_eq!(
        Agreements::from_json(serde_json::json!({})).unwrap(),
        Agreements::default()
    );
    for wrong in [
        serde_json::json!({ "google.read": {} }),
        serde_json::json!({ "google.read": { "wording": "1" } }),
        serde_json::json!({ "nonsense": { "wording": "1.0" } }),
        serde_json::json!([]),
    ] {
        assert!(Agreements::from_json(wrong.clone()).is_err(), "{wrong}");
    }
}
