//! Which paths there are: origins by where they are, and by the ways that lead to them. Pure; links are asked of elsewhere.

use std::collections::{BTreeSet, HashMap};

use protocol::id::Name;

use super::{
    key::{OriginAt, OriginKey},
    rollup::At,
};
use crate::model::{Catalog, Via};

/// The origins of one catalog, and the ways to each as last found.
#[derive(Debug, Default)]
pub(super) struct Index {
    by_key: HashMap<OriginAt, Vec<At>>,
    /// Behind no VNet: reached directly.
    by_vnet: HashMap<Option<Name>, Vec<At>>,
    ways: HashMap<At, Vec<Via>>,
    by_way: HashMap<Via, BTreeSet<At>>,
}

/// How the ways to an origin have changed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Moved {
    /// Those that are no more.
    pub(super) gone: Vec<Via>,
    /// Those that were not there before.
    pub(super) new: Vec<Via>,
}

impl Index {
    /// The origins of this catalog; nothing is known of ways yet.
    pub(super) fn of(catalog: &Catalog) -> Self {
        let mut index = Self::default();
        for (pool, configured) in catalog.pools.iter().enumerate() {
            for (origin, of_pool) in configured.origins.iter().enumerate() {
                let (at, key) = (At { pool, origin }, (configured.name.clone(), OriginKey::of(of_pool)));
                index.by_key.entry(key).or_default().push(at);
                index.by_vnet.entry(of_pool.vnet.clone()).or_default().push(at);
            }
        }
        index
    }

    /// Every origin.
    pub(super) fn all(&self) -> Vec<At> {
        self.by_key.values().flatten().copied().collect()
    }

    /// The origins behind these VNets.
    pub(super) fn behind(&self, vnets: BTreeSet<Name>) -> Vec<At> {
        vnets.into_iter().filter_map(|vnet| self.by_vnet.get(&Some(vnet))).flatten().copied().collect()
    }

    /// The origins of a pool that are there; more than one if it lists a server twice.
    pub(super) fn at(&self, key: &OriginAt) -> &[At] {
        self.by_key.get(key).map_or(&[], Vec::as_slice)
    }

    /// The origins that a way leads to.
    pub(super) fn over(&self, via: Via) -> impl Iterator<Item = At> {
        self.by_way.get(&via).into_iter().flatten().copied()
    }

    /// How many origins a way leads to.
    pub(super) fn count(&self, via: Via) -> usize {
        self.by_way.get(&via).map_or(0, BTreeSet::len)
    }

    /// The ways to an origin.
    pub(super) fn ways(&self, at: At) -> &[Via] {
        self.ways.get(&at).map_or(&[], Vec::as_slice)
    }

    /// From now on these ways lead to the origin.
    pub(super) fn put(&mut self, at: At, ways: Vec<Via>) -> Moved {
        let before = self.ways(at);
        let gone: Vec<_> = before.iter().filter(|via| !ways.contains(via)).copied().collect();
        let new: Vec<_> = ways.iter().filter(|via| !before.contains(via)).copied().collect();
        for via in &gone {
            if let Some(origins) = self.by_way.get_mut(via) {
                origins.remove(&at);
                if origins.is_empty() {
                    self.by_way.remove(via);
                }
            }
        }
        for via in &new {
            self.by_way.entry(*via).or_default().insert(at);
        }
        self.ways.insert(at, ways);
        Moved { gone, new }
    }
}

#[cfg(test)]
mod tests {
    use protocol::id::LinkId;

    use super::*;

    #[test]
    fn ways_come_and_go() {
        let [one, two, three] = [1, 2, 3].map(|id| Via::Link(LinkId(id)));
        let [here, there] = [0, 1].map(|origin| At { pool: 0, origin });
        let mut index = Index::default();
        assert_eq!(index.put(here, vec![one, two]), Moved { gone: vec![], new: vec![one, two] });
        index.put(there, vec![two]);
        assert_eq!(index.over(two).collect::<Vec<_>>(), [here, there]);
        assert_eq!(index.put(here, vec![three, two]), Moved { gone: vec![one], new: vec![three] });
        assert_eq!((index.count(one), index.count(two), index.count(three)), (0, 2, 1));
        assert_eq!(index.put(here, vec![three, two]), Moved { gone: vec![], new: vec![] });
        index.put(here, Vec::new());
        assert_eq!((index.over(two).collect::<Vec<_>>(), index.ways(here)), (vec![there], &[][..]));
    }
}
