//! Values with stable ids: an id of a value that is gone never names a later one.

/// Places that are kept when no value is left: those of a burst are not.
const KEPT: usize = 1024;

/// Names a value of a [`Slab`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id {
    pub(crate) index: u32,
    generation: u32,
}

/// Values by id.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    slots: Vec<(u32, Option<T>)>,
    free: Vec<u32>,
    /// The generation of new places, later than that of all that were given up.
    first: u32,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            first: 0,
        }
    }
}

impl<T> Slab<T> {
    /// An id for a value that is still to be made; [`Self::fill`] follows at once.
    pub(crate) fn reserve(&mut self) -> Id {
        if let Some(index) = self.free.pop() {
            return Id {
                index,
                generation: self.slots[index as usize].0,
            };
        }
        self.slots.push((self.first, None));
        Id {
            index: (self.slots.len() - 1) as u32,
            generation: self.first,
        }
    }

    /// Puts the value in its place.
    pub(crate) fn fill(&mut self, id: Id, value: T) {
        self.slots[id.index as usize].1 = Some(value);
    }

    pub(crate) fn insert(&mut self, value: T) -> Id {
        let id = self.reserve();
        self.fill(id, value);
        id
    }

    pub(crate) fn get(&self, id: Id) -> Option<&T> {
        let slot = self.slots.get(id.index as usize)?;
        if slot.0 == id.generation {
            slot.1.as_ref()
        } else {
            None
        }
    }

    pub(crate) fn get_mut(&mut self, id: Id) -> Option<&mut T> {
        let slot = self.slots.get_mut(id.index as usize)?;
        if slot.0 == id.generation {
            slot.1.as_mut()
        } else {
            None
        }
    }

    /// The value of an id that cannot have been removed, and why it cannot. A release build goes on
    /// without it: one call of one client is then wrong, and not the process.
    pub(crate) fn expected(&mut self, id: Id, why: &'static str) -> Option<&mut T> {
        let value = self.get_mut(id);
        debug_assert!(value.is_some(), "{id:?} is missing: {why}");
        value
    }

    pub(crate) fn remove(&mut self, id: Id) -> Option<T> {
        let slot = self.slots.get_mut(id.index as usize)?;
        if slot.0 != id.generation {
            return None;
        }
        let value = slot.1.take()?;
        slot.0 = slot.0.wrapping_add(1);
        self.free.push(id.index);
        if self.slots.len() > KEPT && self.free.len() == self.slots.len() {
            let last = self.slots.iter().map(|(generation, _)| *generation).max();
            *self = Self {
                first: last.unwrap_or_default(),
                ..Self::default()
            };
        }
        Some(value)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Id, &T)> {
        let slots = self.slots.iter().enumerate();
        slots.filter_map(|(index, (generation, value))| {
            let id = Id {
                index: index as u32,
                generation: *generation,
            };
            value.as_ref().map(|value| (id, value))
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_id_does_not_name_a_new_value() {
        let mut slab = Slab::default();
        let first = slab.insert("a");
        assert_eq!(slab.remove(first), Some("a"));
        let second = slab.insert("b");
        assert_eq!((slab.get(first), slab.get(second)), (None, Some(&"b")));
        assert_eq!((slab.remove(first), slab.len()), (None, 1));
    }

    #[test]
    fn the_places_of_a_burst_are_given_up_and_its_ids_stay_dead() {
        let mut slab = Slab::default();
        let ids: Vec<Id> = (0..10 * KEPT).map(|n| slab.insert(n)).collect();
        for id in &ids {
            assert!(slab.remove(*id).is_some());
        }
        assert!(slab.slots.capacity() <= KEPT && slab.free.capacity() <= KEPT);
        let again: Vec<Id> = (0..10 * KEPT).map(|n| slab.insert(n)).collect();
        assert!(ids.iter().all(|id| slab.get(*id).is_none()));
        assert_eq!(slab.get(again[7]), Some(&7));
    }
}
