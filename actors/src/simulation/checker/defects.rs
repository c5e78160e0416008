//! What a defect, or a disk without room, may cost: one restart, and nothing that reached us.

use super::Checker;

impl Checker {
    /// A defect was set, or met, at this node.
    pub(in crate::simulation) fn defect(&mut self, node: usize) {
        self.health.entry(node).or_default().defects += 1;
    }

    /// How often the accounts' actors of this node were started again in its life.
    pub(in crate::simulation) fn restarted(&mut self, node: usize, restarts: u64) {
        let defects = self.health.get(&node).map_or(0, |health| health.defects);
        if restarts > defects {
            self.broken(
                "a defect costs its actor one restart",
                format_args!("{restarts} restarts of {defects} defects on node {node}"),
            );
        }
    }

    /// Whether anything can be written at this place.
    pub(in crate::simulation) fn disk_turned(&mut self, place: usize, is_full: bool) {
        self.places.entry(place).or_default().is_disk_full = is_full;
    }
}
