//! The little XML that the gateway speaks: a root and its children, each a text.

use quick_xml::Reader;
use quick_xml::events::{BytesRef, Event};

const BROKEN: &str = "the reply is no valid XML";

/// The children of the root element `root`, in order: name and text, or no text for a child that
/// holds further elements. Namespaces, attributes, comments and the declaration are passed over;
/// entities and CDATA are resolved. Anything before or after the root makes the whole unreadable.
pub(super) fn children(text: &str, root: &str) -> Result<Vec<(String, Option<String>)>, &'static str> {
    let mut reader = Reader::from_str(text);
    reader.config_mut().expand_empty_elements = true;
    reader.config_mut().allow_dangling_amp = true;
    let mut tree = Tree::default();
    loop {
        match reader.read_event().map_err(|_| BROKEN)? {
            Event::Start(tag) => tree.start(tag.local_name().into_inner(), root)?,
            Event::End(_) => tree.depth -= 1,
            Event::Text(text) => tree.text(&text.xml10_content())?,
            Event::CData(text) => tree.text(&text.xml10_content())?,
            Event::GeneralRef(name) => tree.text(resolve(&name).encode_utf8(&mut [0; 4]))?,
            Event::Eof if tree.seen_root && tree.depth == 0 => return Ok(tree.children),
            Event::Eof | Event::DocType(_) => return Err(BROKEN),
            Event::Empty(_) | Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
        }
    }
}

#[derive(Default)]
struct Tree {
    /// How many elements are open.
    depth: usize,
    seen_root: bool,
    children: Vec<(String, Option<String>)>,
}

impl Tree {
    fn start(&mut self, name: &str, root: &str) -> Result<(), &'static str> {
        match self.depth {
            0 if self.seen_root => return Err("the reply holds more than one result"),
            0 if name != root => return Err("the reply is XML, but no result of the gateway"),
            0 => self.seen_root = true,
            1 => self.children.push((name.to_owned(), Some(String::new()))),
            _ => {
                if let Some((_, text)) = self.children.last_mut() {
                    *text = None;
                }
            }
        }
        self.depth += 1;
        Ok(())
    }

    /// Text belongs to the child that is open; between children it says nothing.
    fn text(&mut self, more: &str) -> Result<(), &'static str> {
        match self.children.last_mut() {
            Some((_, Some(text))) if self.depth == 2 => text.push_str(more),
            _ if self.depth == 0 && !more.trim().is_empty() => return Err(BROKEN),
            _ => {}
        }
        Ok(())
    }
}

/// The character behind `&…;`; one that XML does not know is shown as U+FFFD.
fn resolve(name: &BytesRef<'_>) -> char {
    match &**name {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        _ => name.resolve_char_ref().ok().flatten().unwrap_or(char::REPLACEMENT_CHARACTER),
    }
}
