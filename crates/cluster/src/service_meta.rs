//! The Meta of a service's instances together.

use std::{collections::BTreeMap, sync::Arc};

use discovery::{Instance, Snapshot};

use crate::Meta;

/// For each key, the first serving instance that has it: its value counts. Most changes do not
/// concern it, which is found without reading all instances.
#[derive(Default)]
pub(crate) struct ServiceMeta(BTreeMap<String, Arc<Instance>>);

impl ServiceMeta {
    pub(crate) fn of(snapshot: &Snapshot) -> Self {
        let mut first: BTreeMap<String, Arc<Instance>> = BTreeMap::new();
        for instance in snapshot.serving() {
            for key in instance.meta.keys() {
                if !first.contains_key(key) {
                    first.insert(key.clone(), Arc::clone(instance));
                }
            }
        }
        Self(first)
    }

    /// Whether replacing `before` by `after` changes this.
    pub(crate) fn is_changed(&self, before: Option<&Instance>, after: Option<&Instance>) -> bool {
        let serving = |instance: &&Instance| instance.is_serving();
        let (before, after) = (before.filter(serving), after.filter(serving));
        if before.map(|i| &i.meta) == after.map(|i| &i.meta) {
            return false;
        }
        let mut both = before.into_iter().chain(after);
        both.any(|instance| instance.meta.keys().any(|key| self.is_first(instance, key)))
    }

    fn is_first(&self, instance: &Instance, key: &str) -> bool {
        let first = self.0.get(key);
        first.is_none_or(|first| instance.key <= first.key)
    }

    /// In the form that [`ServiceConfig`](crate::ServiceConfig) takes.
    pub(crate) fn meta(&self) -> Meta<'_> {
        let values = self.0.iter();
        values
            .filter_map(|(key, first)| Some((key.as_str(), first.meta.get(key)?.as_str())))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use discovery::{Health, InstanceKey};

    use super::*;

    fn instance(id: &str, meta: &[(&str, &str)]) -> Instance {
        let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        Instance {
            key: InstanceKey {
                node: "".into(),
                id: id.into(),
            },
            service: "agent-test".into(),
            host: "127.0.0.1".to_owned(),
            port: 1,
            tags: Vec::new(),
            meta: meta.iter().map(own).collect(),
            weight: 1,
            health: Health::Passing,
        }
    }

    fn critical(instance: &Instance) -> Instance {
        Instance {
            health: Health::Critical,
            ..instance.clone()
        }
    }

    #[test]
    fn the_first_serving_instance_that_has_a_key_counts() {
        let first = critical(&instance("a", &[("x", "0")]));
        let others = [
            instance("b", &[("x", "1")]),
            instance("c", &[("x", "2"), ("y", "3")]),
        ];
        let announced = ServiceMeta::of(&Snapshot::of("s", others.into_iter().chain([first])));
        assert_eq!(announced.meta(), Meta::from([("x", "1"), ("y", "3")]));
    }

    /// Property: every change is found, whichever instances replace which.
    #[test]
    fn a_change_is_told_without_looking_at_all() {
        let all = [
            instance("a", &[]),
            instance("b", &[("x", "1"), ("port", "7")]),
            instance("c", &[("x", "2"), ("port", "8")]),
            instance("d", &[("x", "2"), ("y", "3"), ("port", "9")]),
        ];
        let announced = ServiceMeta::of(&Snapshot::of("s", all.clone()));
        let mut untouched = 0;
        for (index, before) in all.iter().enumerate() {
            let metas: [&[(&str, &str)]; 4] =
                [&[], &[("x", "1")], &[("z", "1")], &[("x", "2"), ("y", "3")]];
            let afters = metas.map(|meta| instance(&before.key.id, meta));
            let afters = afters.iter().cloned().chain([critical(before)]).map(Some);
            for after in afters.chain([None]) {
                let mut next = all.to_vec();
                next.remove(index);
                next.extend(after.clone());
                let next = ServiceMeta::of(&Snapshot::of("s", next));
                let changed = announced.is_changed(Some(before), after.as_ref());
                assert!(
                    changed || next.meta() == announced.meta(),
                    "{before:?} {after:?}"
                );
                untouched += usize::from(!changed);
            }
        }
        assert!(untouched > 6, "{untouched}");
        assert!(!announced.is_changed(None, Some(&instance("e", &[("x", "9"), ("port", "1")]))));
        assert!(announced.is_changed(None, Some(&instance("0", &[("x", "9")]))));
    }
}
