//! What the fields of a message and of those within it demand, read once.

use std::collections::{HashMap, HashSet};

use prost_reflect::{Kind, MessageDescriptor};
use regex::{Regex, RegexBuilder};

use crate::rules::{self, Rules};

/// Bytes that a compiled pattern may take.
const MAX_PATTERN: usize = 64 << 10;
/// Patterns that are compiled. What is past them the service itself checks.
const MAX_PATTERNS: usize = 64;
/// Messages that are looked at.
const MAX_MESSAGES: usize = 2_000;

/// What the fields of a message demand, and those of the messages within it. Only those that demand
/// something are kept.
#[derive(Clone, Debug, Default)]
pub struct ArgumentRules {
    messages: HashMap<String, MessageRules>,
}

/// What the fields of one message demand.
#[derive(Clone, Debug, Default)]
pub(super) struct MessageRules {
    /// Names of fields that have to be given.
    pub(super) required: Vec<String>,
    /// By number.
    pub(super) fields: HashMap<u32, FieldRules>,
    /// The fields of oneofs of which one has to be given.
    pub(super) oneofs: Vec<Vec<String>>,
}

/// What one field demands.
#[derive(Clone, Debug, Default)]
pub(super) struct FieldRules {
    pub(super) rules: Rules,
    /// The pattern, ready.
    pub(super) pattern: Option<Regex>,
    /// Of the elements of a list, or the values of a map.
    pub(super) items: Option<Box<Self>>,
}

impl ArgumentRules {
    /// Those of a message.
    #[must_use]
    pub fn of(message: &MessageDescriptor) -> Self {
        let mut found = Self::default();
        let mut seen = HashSet::from([message.full_name().to_owned()]);
        let mut open = vec![message.clone()];
        let mut patterns = MAX_PATTERNS;
        while let Some(message) = open.pop() {
            let mut rules = MessageRules::default();
            for field in message.fields() {
                rules.add(&field, &mut patterns);
                let mut kind = field.kind();
                if let (true, Kind::Message(entry)) = (field.is_map(), &kind) {
                    kind = entry.map_entry_value_field().kind();
                }
                if let Kind::Message(inner) = kind
                    && seen.len() < MAX_MESSAGES
                    && seen.insert(inner.full_name().to_owned())
                {
                    open.push(inner);
                }
            }
            for oneof in message.oneofs().filter(rules::is_oneof_required) {
                let names = oneof.fields().map(|field| field.name().to_owned());
                rules.oneofs.push(names.collect());
            }
            if !rules.is_empty() {
                found.messages.insert(message.full_name().to_owned(), rules);
            }
        }
        found
    }

    pub(super) fn get(&self, message: &str) -> Option<&MessageRules> {
        if self.messages.is_empty() {
            return None;
        }
        self.messages.get(message)
    }
}

impl MessageRules {
    fn add(&mut self, field: &prost_reflect::FieldDescriptor, patterns: &mut usize) {
        let rules = Rules::of(field);
        let is_alone = field
            .containing_oneof()
            .is_none_or(|oneof| oneof.is_synthetic());
        if rules.required && is_alone && !rules.output_only {
            self.required.push(field.name().to_owned());
        }
        let only_required = Rules {
            required: rules.required,
            ..Rules::default()
        };
        if rules != only_required {
            self.fields
                .insert(field.number(), FieldRules::new(rules, patterns));
        }
    }

    fn is_empty(&self) -> bool {
        self.required.is_empty() && self.fields.is_empty() && self.oneofs.is_empty()
    }
}

impl FieldRules {
    fn new(mut rules: Rules, patterns: &mut usize) -> Self {
        let items = rules.items.take();
        let pattern = rules.pattern.as_deref().filter(|_| *patterns > 0);
        let pattern = pattern.and_then(|pattern| {
            *patterns -= 1;
            let built = RegexBuilder::new(pattern).size_limit(MAX_PATTERN).build();
            built.ok()
        });
        Self {
            pattern,
            items: items.map(|items| Box::new(Self::new(*items, patterns))),
            rules,
        }
    }
}
