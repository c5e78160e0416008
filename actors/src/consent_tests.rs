//! What a consent is about.

use super::*;
use crate::testing::provider::provider;

#[test]
fn a_feature_is_about_its_own_scopes_and_those_of_none() {
    let all: ScopeSet = ["openid", "read", "write"].into_iter().collect();
    let of = |key: &str| part(&provider("google"), &key.parse().unwrap(), &all).to_strings();
    assert_eq!(of("google.read"), ["openid", "read"]);
    assert_eq!(of("google.write"), ["openid", "write"]);
}
