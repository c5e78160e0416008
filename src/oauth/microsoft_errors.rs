//! What errors of Entra ID mean: `error` first, then `suberror`, and numbers (AADSTS) only where they agree with both.
//!
//! One number says different things beside different errors: 9002313 beside `invalid_request` is a request of ours that is
//! malformed, beside `invalid_grant` a code or a refresh token that somebody made up. Most numbers are about one directory or
//! one policy in it. Microsoft warns that they change: an unknown one falls back on `error`, and costs nobody their tokens.

use std::time::Duration;

use oauth_manager_actors::ports::oauth::FailureKind;

use super::{classify::ErrorAnswer, declaration::Refined};

/// 50196 means that we looped: the way out is to leave the account alone for minutes.
const LOOP_PAUSE: Duration = Duration::from_mins(5);
const LOOPED: u32 = 50196;

/// A secret, a certificate or an assertion of ours.
const REGISTRATION: &[u32] = &[7_000_215, 7_000_222, 7_000_218, 70002, 700_025, 700_027, 700_030];
/// The directory has no such application, has disabled it or lacks what it needs; or is closed itself.
const TENANT: &[u32] = &[700_016, 700_011, 7_000_112, 90002, 90099, 500_011];
/// All of these are about what a directory has consented to or subscribed.
const TENANT_CONSENTS: std::ops::RangeInclusive<u32> = 650_000..=650_999;
/// A policy, an account or a device in the hands of the directory's administrator: signing in again is refused again.
const ADMIN: &[u32] = &[
    90093, 90094, 90095, 50057, 50105, 50020, 500_212, 500_213, 500_021, 500_022, 65005, 700_003, 53000,
    53001, 53002, 53003, 53005, 53011, 530_032, 530_034, 530_035,
];
/// A second factor, a new password, a consent only the user can give, an account that is locked or not to be found now.
const INTERACTION: &[u32] = &[
    50034, 50053, 50055, 50058, 50072, 50074, 50076, 50078, 50079, 50089, 50097, 50125, 50126, 50131, 50132,
    50133, 50135, 50144, 50158, 51004, 53004, 16000, 65001, 65004,
];
/// What was presented is over, or never was.
const DEAD: &[u32] = &[
    50173, 70000, 70008, 700_081, 700_082, 700_084, 70043, 54005, 50085, 50013, 700_020, 70019, 700_005,
    70002, 9_002_313,
];
const PASSING: &[u32] = &[
    50033, 50087, 50088, 90006, 90012, 90024, 90033, 90055, 90090, 90091, 70012, 50166, 80002, 80005,
];
/// How we ask: a parameter, an address, a resource, a proof key.
const REQUEST: &[u32] = &[
    9_002_313, 900_144, 900_382, 901_002, 9_001_023, 9_002_332, 90010, 90013, 90014, 90023, 90038, 90100,
    50001, 50011, 50049, 50147, 50148, 50194, 501_481, 501_491, 70001, 70011, 28002, 28003, 700_022, 700_023,
];

/// The verdict, where Microsoft says more than the common words.
pub(super) fn refine(error: &ErrorAnswer) -> Option<Refined> {
    let code = error.code.as_deref();
    let suberror = error.subcode.as_deref();
    if let Some(number) = first(error, |number| number == LOOPED) {
        return Some(Refined {
            retry_after: Some(LOOP_PAUSE),
            ..named(FailureKind::AccountThrottled, number)
        });
    }
    if let ("invalid_client" | "unauthorized_client", Some(number)) = (
        code.unwrap_or_default(),
        first(error, |number| REGISTRATION.contains(&number)),
    ) {
        return Some(named(FailureKind::Operator, number));
    }
    if let Some(suberror @ ("bad_token" | "token_expired")) = suberror {
        // The number says why, where it is one about what was presented.
        let number = first(error, |number| DEAD.contains(&number) && number != 9_002_313);
        return Some(match number {
            Some(number) => named(FailureKind::DeadGrant, number),
            None => Refined::new(FailureKind::DeadGrant, suberror),
        });
    }
    for (kind, table) in [
        (FailureKind::Passing, PASSING),
        (FailureKind::Tenant, TENANT),
        (FailureKind::Admin, ADMIN),
    ] {
        let is_tenant = kind == FailureKind::Tenant;
        let fits = |number| table.contains(&number) || is_tenant && TENANT_CONSENTS.contains(&number);
        if let Some(number) = first(error, fits) {
            return Some(named(kind, number));
        }
    }
    match code {
        Some(
            "invalid_grant"
            | "interaction_required"
            | "login_required"
            | "consent_required"
            | "access_denied",
        ) => of_grant(error),
        // Its number says which secret, or nothing that is known: either way it is about our client.
        Some("invalid_client") => {
            let number = error.numbers.first()?;
            Some(named(FailureKind::Operator, *number))
        }
        Some("invalid_request") | None => of_request(error),
        Some(_) => of_request(error).filter(|_| error.word_of(super::error_words::PASSING).is_none()),
    }
}

/// Beside an error about the grant. Of several numbers the one that costs the account least is believed.
fn of_grant(error: &ErrorAnswer) -> Option<Refined> {
    // Personal accounts: the grant lives, and lacks the user's consent to a scope.
    let lacks_consent = error.mentions("one or more scopes requested are unauthorized or expired");
    if lacks_consent && let Some(number) = first(error, |number| number == 70000) {
        return Some(named(FailureKind::Interaction, number));
    }
    let listed = [
        (FailureKind::Interaction, INTERACTION),
        (FailureKind::DeadGrant, DEAD),
    ];
    let listed = listed.into_iter().find_map(|(kind, table)| {
        let number = first(error, |number| table.contains(&number))?;
        Some(named(kind, number))
    });
    listed.or_else(|| of_suberror(error)).or_else(|| {
        // Whatever the number is about, it may be undone: the user is asked, and the tokens are kept.
        let number = error.numbers.first()?;
        Some(named(FailureKind::Interaction, *number))
    })
}

fn of_suberror(error: &ErrorAnswer) -> Option<Refined> {
    let suberror = error.subcode.as_deref()?;
    let kind = match suberror {
        "basic_action"
        | "additional_action"
        | "message_only"
        | "consent_required"
        | "user_password_expired"
        | "device_authentication_failed"
        | "ui_not_allowed"
        | "interrupted_user"
        // The token was given to another client: ours may have been exchanged by mistake, which can be undone.
        | "client_mismatch" => FailureKind::Interaction,
        "protection_policy_required" => FailureKind::Admin,
        _ => return None,
    };
    Some(Refined::new(kind, suberror))
}

fn of_request(error: &ErrorAnswer) -> Option<Refined> {
    if let Some(number) = first(error, |number| REQUEST.contains(&number)) {
        return Some(named(FailureKind::BadRequest, number));
    }
    let is_request = error.code.as_deref() == Some("invalid_request");
    is_request.then(|| Refined::new(FailureKind::BadRequest, "invalid_request"))
}

fn first(error: &ErrorAnswer, fits: impl Fn(u32) -> bool) -> Option<u32> {
    error.numbers.iter().copied().find(|number| fits(*number))
}

fn named(kind: FailureKind, number: u32) -> Refined {
    Refined::new(kind, format!("aadsts{number}"))
}
