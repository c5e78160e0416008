//! Which scopes include which. Declarations name the wider scopes one step at a time; here they are made whole, so that
//! whoever asks whether a grant covers a scope looks once and never walks.

use std::collections::BTreeMap;

use super::{
    feature::FeatureSpec,
    scope::{Scope, ScopeSet},
};

/// Makes `implied_by` complete: what includes a wider scope includes the narrower one too, and a scope means the same in
/// every feature that names it.
pub fn complete(features: &mut [FeatureSpec]) {
    let mut direct: BTreeMap<Scope, ScopeSet> = BTreeMap::new();
    for spec in features.iter().flat_map(|feature| &feature.scopes) {
        let known = direct.entry(spec.scope.clone()).or_default();
        *known = known.union(&spec.implied_by);
    }
    for spec in features.iter_mut().flat_map(|feature| &mut feature.scopes) {
        spec.implied_by = wider_than(&spec.scope, &direct);
    }
}

/// Everything from which this scope can be reached; a circle ends where it began.
fn wider_than(scope: &Scope, direct: &BTreeMap<Scope, ScopeSet>) -> ScopeSet {
    let mut found = ScopeSet::default();
    let mut open = vec![scope.clone()];
    while let Some(next) = open.pop() {
        for wider in direct.get(&next).into_iter().flat_map(ScopeSet::iter) {
            if wider != scope && !found.contains(wider) {
                found.insert(wider.clone());
                open.push(wider.clone());
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{domain::provider::Provider, testing::provider::provider};

    /// A provider whose one feature has the scopes `s0` … `s7`, each included in these others; completed.
    fn with(implied_by: &[Vec<u8>]) -> Provider {
        let mut acme = provider("acme");
        acme.features.truncate(1);
        let like = acme.features[0].scopes[0].clone();
        let spec = |(index, wider): (usize, &Vec<u8>)| crate::domain::feature::ScopeSpec {
            scope: Scope::new(format!("s{index}")),
            implied_by: names(wider),
            ..like.clone()
        };
        acme.features[0].scopes = implied_by.iter().enumerate().map(spec).collect();
        complete(&mut acme.features);
        acme
    }

    fn names(indices: &[u8]) -> ScopeSet {
        indices.iter().map(|index| format!("s{index}")).collect()
    }

    fn any_scopes() -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(0..8_u8, 0..4)
    }

    fn any_provider() -> impl Strategy<Value = Provider> {
        proptest::collection::vec(any_scopes(), 8).prop_map(|implied_by| with(&implied_by))
    }

    proptest! {
        #[test]
        fn what_is_complete_stays_as_it_is(provider in any_provider()) {
            let mut again = provider.clone();
            complete(&mut again.features);
            prop_assert_eq!(again.features, provider.features);
        }

        #[test]
        fn a_grant_amounts_to_at_least_itself_and_to_no_more_the_second_time(provider in any_provider(), granted in any_scopes()) {
            let granted = names(&granted);
            let effective = provider.effective(&granted);
            prop_assert!(granted.is_subset(&effective));
            prop_assert_eq!(provider.effective(&effective), effective);
        }

        #[test]
        fn more_granted_never_amounts_to_less(provider in any_provider(), one in any_scopes(), more in any_scopes()) {
            let (one, more) = (names(&one), names(&more));
            let both = one.union(&more);
            prop_assert!(provider.effective(&one).is_subset(&provider.effective(&both)));
            let missing = |granted: &ScopeSet| provider.features[0].missing_scopes(granted);
            prop_assert!(missing(&both).is_subset(&missing(&one)));
        }

        #[test]
        fn what_is_not_covered_is_what_the_grant_does_not_amount_to(provider in any_provider(), wanted in any_scopes(), granted in any_scopes()) {
            let (wanted, granted) = (names(&wanted), names(&granted));
            prop_assert_eq!(
                provider.uncovered(&wanted, &granted),
                wanted.difference(&provider.effective(&granted))
            );
        }
    }

    #[test]
    fn the_widest_scope_covers_the_narrowest_through_the_one_between() {
        let acme = with(&[vec![1], vec![2], vec![], vec![], vec![], vec![], vec![], vec![]]);
        assert_eq!(acme.effective(&names(&[2])), names(&[0, 1, 2]));
    }
}
