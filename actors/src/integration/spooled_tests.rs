//! What lies in the spool comes out as it was put in.

use super::*;
use crate::domain::integration::Status;

fn commit(refresh_token: Option<Vec<u8>>, actor: Actor) -> RefreshCommit {
    let id: IntegrationId = format!("acme_{}", Uuid::now_v7().simple()).parse().unwrap();
    let subject: Subject = "ada|ü".parse().unwrap();
    let at = |seconds: i64| Timestamp::from_second(1_800_000_000 + seconds).unwrap();
    let scopes: ScopeSet = ["a", "b"].into_iter().collect();
    let context = RequestContext {
        actor,
        request_id: "r-1".into(),
        ip: Some("2001:db8::1".parse().unwrap()),
        user_agent: Some("curl".into()),
    };
    RefreshCommit {
        generation: 7,
        attempt: AttemptId(Uuid::now_v7()),
        access_token: Sealed(vec![0, 1, 255]),
        refresh_token: refresh_token.map(Sealed),
        token_type: "Bearer".into(),
        issued_at: at(0),
        expires_at: Some(at(60)),
        refresh_token_expires_at: None,
        next_refresh_at: Some(at(50)),
        scopes: scopes.clone(),
        standing: Standing::because(
            Status::Degraded,
            ReasonCode::new("answer_unreadable"),
            WhoMustAct::Nobody,
        ),
        refreshed: false,
        failures: 3,
        audit: AuditEntry::new(AuditAction::Refresh, AuditOutcome::Failure, context)
            .with_integration(&id, &subject)
            .with_scopes(scopes)
            .with_error(ReasonCode::new("answer_unreadable")),
        id,
    }
}

fn service() -> Actor {
    Actor::Service(Arc::new(ServiceClient {
        id: Uuid::now_v7(),
        name: "mailer".into(),
        policy: Policy::default(),
        created_at: Timestamp::from_second(1).unwrap(),
        revoked_at: None,
    }))
}

#[test]
fn every_commit_comes_out_as_it_went_in() {
    let user = Actor::User("ada".parse().unwrap());
    for actor in [user, service(), Actor::Browser, Actor::Operator, Actor::System] {
        for refresh_token in [None, Some(vec![]), Some(vec![9; 3000])] {
            let commit = commit(refresh_token, actor.clone());
            assert_eq!(decode(&encode(&commit).unwrap()), Some(commit));
        }
    }
}

#[test]
fn what_is_cut_short_or_of_another_form_is_none() {
    let plain = encode(&commit(Some(vec![1; 10]), Actor::System)).unwrap();
    let tokens = 13;
    for length in 0..plain.len() - tokens {
        assert_eq!(decode(&plain[..length]), None, "{length}");
    }
    let mut other = plain.to_vec();
    other[0] = 2;
    assert_eq!(decode(&other), None);
}
