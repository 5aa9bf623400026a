//! Two messages compared element by element, sub-elements by their ids. It must never show a card number unless it is
//! asked to: what differs in a masked place is told as masked.

use std::collections::BTreeMap;

use iso_codec::{DescribeOptions, DescribedItem, DescribedValue, Message, describe};
use serde::Serialize;

/// One place in which two messages differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Where: `MTI`, `DE4`, `DE48.63`.
    pub place: String,
    /// What it is called.
    pub name: String,
    /// What the first message says; none when it has no such element.
    pub a: Option<String>,
    /// What the second says.
    pub b: Option<String>,
}

/// A leaf of a message: name, content to compare, text to show.
type Leaf = (String, String, String);

/// The places in which two messages differ, in wire order of the first, what only the second has behind.
pub fn compare(a: &Message, b: &Message, clear: bool) -> Vec<Difference> {
    let (first, second) = (leaves(a, clear), leaves(b, clear));
    let mut found = Vec::new();
    if a.mti() != b.mti() {
        found.push(Difference {
            place: "MTI".to_owned(),
            name: "Message type".to_owned(),
            a: Some(a.mti().to_string()),
            b: Some(b.mti().to_string()),
        });
    }
    let known: BTreeMap<&str, &Leaf> = second.iter().map(|(place, leaf)| (place.as_str(), leaf)).collect();
    let in_first: BTreeMap<&str, &Leaf> = first.iter().map(|(place, leaf)| (place.as_str(), leaf)).collect();
    for (place, (name, content, text)) in &first {
        match known.get(place.as_str()) {
            Some((_, other, _)) if other == content => {}
            other => found.push(Difference {
                place: place.clone(),
                name: name.clone(),
                a: Some(text.clone()),
                b: other.map(|(_, _, text)| text.clone()),
            }),
        }
    }
    for (place, (name, _, text)) in &second {
        if !in_first.contains_key(place.as_str()) {
            found.push(Difference { place: place.clone(), name: name.clone(), a: None, b: Some(text.clone()) });
        }
    }
    found
}

fn leaves(message: &Message, clear: bool) -> Vec<(String, Leaf)> {
    let contents = describe(message, &DescribeOptions { clear: true });
    let shown = describe(message, &DescribeOptions { clear });
    let mut out = Vec::new();
    for ((n, content), (_, shown)) in contents.fields.iter().zip(&shown.fields) {
        let place = format!("DE{n}");
        walk(&place, &content.name, (content.raw.as_deref(), &content.value), &shown.value, &mut out);
    }
    out
}

fn walk(
    place: &str,
    name: &str,
    (raw, content): (Option<&str>, &DescribedValue),
    shown: &DescribedValue,
    out: &mut Vec<(String, Leaf)>,
) {
    if let (DescribedValue::Items(items), DescribedValue::Items(seen)) = (content, shown) {
        let mut met: BTreeMap<&str, usize> = BTreeMap::new();
        for (item, seen) in items.iter().zip(seen) {
            let DescribedItem { id, name, raw, value, .. } = item;
            let count = met.entry(id.as_str()).or_default();
            *count += 1;
            // The same tag may come again: told by its turn.
            let turn = if *count > 1 { format!("#{count}") } else { String::new() };
            walk(&format!("{place}.{id}{turn}"), name, (raw.as_deref(), value), &seen.value, out);
        }
        return;
    }
    let content = match content {
        DescribedValue::Text(text) => text.clone(),
        DescribedValue::Opaque | DescribedValue::Items(_) => raw.unwrap_or_default().to_owned(),
    };
    let text = match shown {
        DescribedValue::Text(text) => text.clone(),
        DescribedValue::Opaque => raw.unwrap_or_default().to_owned(),
        DescribedValue::Items(_) => "****".to_owned(),
    };
    out.push((place.to_owned(), (name.to_owned(), content, text)));
}
