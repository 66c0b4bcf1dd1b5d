//! Patches: RFC 6902, and `/nodes/@id` for the node of that id.

use serde_json::{Map, Value};

use crate::{
    Mistake,
    workflow::{MAX_DEPTH, MAX_DOCUMENT, length, too_deep},
};

/// How much the documents of one patch may grow in between.
const MAX_GROWTH: usize = 8 * MAX_DOCUMENT;

fn wrong<T>(path: String, message: impl Into<String>) -> Result<T, Mistake> {
    Err(Mistake {
        path,
        message: message.into(),
    })
}

/// Applies operations, all or nothing.
pub(crate) fn apply(document: &Value, operations: &Value, most: usize) -> Result<Value, Mistake> {
    let Value::Array(operations) = operations else {
        return wrong(String::new(), "`operations` has to be a list of operations");
    };
    if operations.len() > most {
        let message = format!("{} operations, at most {most}", operations.len());
        return wrong(String::new(), message);
    }
    let mut patched = document.clone();
    let mut growth = 0_usize;
    for (at, operation) in operations.iter().enumerate() {
        let Value::Object(operation) = operation else {
            return wrong(format!("/{at}"), "an operation has to be an object");
        };
        one(&mut patched, operation, at, &mut growth)?;
        if growth > MAX_GROWTH {
            return wrong(format!("/{at}"), "the patch becomes too large");
        }
        if too_deep(&patched, MAX_DEPTH + 28) {
            return wrong(format!("/{at}"), "the document becomes too deep");
        }
    }
    Ok(patched)
}

fn one(
    document: &mut Value,
    operation: &Map<String, Value>,
    at: usize,
    growth: &mut usize,
) -> Result<(), Mistake> {
    let pointer = |key: &str| match operation.get(key) {
        Some(Value::String(text)) => Pointer::read(text)
            .ok_or_else(|| (key.to_owned(), format!("`{key}` is no JSON pointer"))),
        Some(_) => Err((key.to_owned(), format!("`{key}` has to be a text"))),
        None => Err((key.to_owned(), format!("`{key}` is missing"))),
    };
    let value = || match operation.get("value") {
        Some(value) => Ok(value.clone()),
        None => Err(("value".to_owned(), "`value` is missing".to_owned())),
    };
    let in_path = |message: String| ("path".to_owned(), message);
    let in_from = |message: String| ("from".to_owned(), message);
    let done = (|| match operation.get("op").and_then(Value::as_str) {
        Some("add") => {
            let value = value()?;
            *growth += length(&value);
            pointer("path")?.add(document, value).map_err(in_path)
        }
        Some("remove") => {
            let path = pointer("path")?;
            path.remove(document).map(drop).map_err(in_path)
        }
        Some("replace") => {
            let path = pointer("path")?;
            let value = value()?;
            *growth += length(&value);
            let place = path.find_mut(document).map_err(in_path)?;
            *place = value;
            Ok(())
        }
        Some("move") => {
            let (from, path) = (pointer("from")?, pointer("path")?);
            if path.begins_with(&from) && path.parts.len() > from.parts.len() {
                return Err(in_path("a value cannot be moved into itself".to_owned()));
            }
            let value = from.remove(document).map_err(in_from)?;
            path.add(document, value).map_err(in_path)
        }
        Some("copy") => {
            let (from, path) = (pointer("from")?, pointer("path")?);
            let value = from.find(document).map_err(in_from)?.clone();
            *growth += length(&value);
            path.add(document, value).map_err(in_path)
        }
        Some("test") => {
            let path = pointer("path")?;
            let expected = value()?;
            if *path.find(document).map_err(in_path)? == expected {
                Ok(())
            } else {
                Err(in_path(format!(
                    "`test` failed: `{}` is another value",
                    path.text
                )))
            }
        }
        _ => Err((
            "op".to_owned(),
            "`op` has to be one of `add`, `remove`, `replace`, `move`, `copy`, `test`".to_owned(),
        )),
    })();
    done.or_else(|(key, message)| wrong(format!("/{at}/{key}"), message))
}

/// A JSON pointer, RFC 6901.
struct Pointer<'t> {
    text: &'t str,
    parts: Vec<String>,
}

impl<'t> Pointer<'t> {
    fn read(text: &'t str) -> Option<Self> {
        let parts = match text.strip_prefix('/') {
            None if text.is_empty() => Vec::new(),
            None => return None,
            Some(rest) => {
                let parts = rest.split('/').map(|part| {
                    let mut escapes = part.split('~').skip(1);
                    let fits = escapes.all(|after| after.starts_with(['0', '1']));
                    fits.then(|| part.replace("~1", "/").replace("~0", "~"))
                });
                parts.collect::<Option<Vec<_>>>()?
            }
        };
        Some(Self { text, parts })
    }

    fn begins_with(&self, other: &Self) -> bool {
        self.parts.starts_with(&other.parts)
    }

    fn find<'v>(&self, document: &'v Value) -> Result<&'v Value, String> {
        let mut value = document;
        for (depth, part) in self.parts.iter().enumerate() {
            value = match value {
                Value::Object(fields) => fields.get(part),
                Value::Array(items) => self.place(items, depth).and_then(|place| items.get(place)),
                _ => None,
            }
            .ok_or_else(|| self.nothing())?;
        }
        Ok(value)
    }

    fn find_mut<'v>(&self, document: &'v mut Value) -> Result<&'v mut Value, String> {
        self.find_part(document, self.parts.len())
    }

    fn find_part<'v>(
        &self,
        document: &'v mut Value,
        length: usize,
    ) -> Result<&'v mut Value, String> {
        let mut value = document;
        for (depth, part) in self.parts.iter().take(length).enumerate() {
            value = match value {
                Value::Object(fields) => fields.get_mut(part),
                Value::Array(items) => {
                    let place = self.place(items, depth);
                    place.and_then(|place| items.get_mut(place))
                }
                _ => None,
            }
            .ok_or_else(|| self.nothing())?;
        }
        Ok(value)
    }

    fn nothing(&self) -> String {
        let shown: String = self.text.chars().take(200).collect();
        format!("there is nothing at `{shown}`")
    }

    /// The place in a list that a part names: a number, or `@id` among the nodes.
    fn place(&self, items: &[Value], depth: usize) -> Option<usize> {
        let part = self.parts.get(depth)?;
        let among_nodes = depth == 1 && self.parts.first().is_some_and(|first| first == "nodes");
        if let Some(id) = part.strip_prefix('@')
            && among_nodes
        {
            return items
                .iter()
                .position(|node| node.get("id").and_then(Value::as_str) == Some(id));
        }
        let plain = part == "0" || !part.starts_with('0');
        let digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        (plain && digits).then(|| part.parse().ok())?
    }

    fn add(&self, document: &mut Value, value: Value) -> Result<(), String> {
        let Some((last, depth)) = self.parts.last().zip(self.parts.len().checked_sub(1)) else {
            *document = value;
            return Ok(());
        };
        match self.find_part(document, depth)? {
            Value::Object(fields) => {
                fields.insert(last.clone(), value);
                Ok(())
            }
            Value::Array(items) if last == "-" => {
                items.push(value);
                Ok(())
            }
            Value::Array(items) => match self.place(items, depth) {
                Some(place) if place <= items.len() => {
                    items.insert(place, value);
                    Ok(())
                }
                // A node of that id is not there yet: it goes to the end.
                None if last.starts_with('@') && depth == 1 && self.parts[0] == "nodes" => {
                    items.push(value);
                    Ok(())
                }
                _ => Err(self.nothing()),
            },
            _ => Err(self.nothing()),
        }
    }

    fn remove(&self, document: &mut Value) -> Result<Value, String> {
        let Some((last, depth)) = self.parts.last().zip(self.parts.len().checked_sub(1)) else {
            return Ok(document.take());
        };
        let removed = match self.find_part(document, depth)? {
            Value::Object(fields) => fields.remove(last),
            Value::Array(items) => self
                .place(items, depth)
                .filter(|place| *place < items.len())
                .map(|place| items.remove(place)),
            _ => None,
        };
        removed.ok_or_else(|| self.nothing())
    }
}

#[cfg(test)]
mod tests;
