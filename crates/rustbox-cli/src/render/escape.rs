//! Texts that somebody else chose, made harmless for a terminal.
//!
//! The payload chooses its argv and its comm, and a terminal obeys what it is sent. So nothing that
//! is not a plain character reaches one: no control characters, no line breaks, none of the marks
//! that reorder or hide text.

/// The text on one line, with every other than a plain character written as an escape.
pub(crate) fn escape_text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_plain(c) {
            out.push(c);
        } else {
            out.extend(c.escape_default());
        }
    }
    out
}

/// Printable ASCII, and letters and digits of other scripts: what is left out are controls, spaces other
/// than the plain one, and the invisible and direction-changing marks (general categories Cc, Cf, Zl, Zp).
fn is_plain(c: char) -> bool {
    matches!(c, ' '..='~') || (!c.is_ascii() && c.is_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_obeys_passes() {
        assert_eq!(escape_text("plain é 日本 ok"), "plain é 日本 ok");
        assert_eq!(escape_text("\x1b[2J\r\n\t\x07"), "\\u{1b}[2J\\r\\n\\t\\u{7}");
        assert_eq!(escape_text("a\u{202e}b\u{200b}\u{2028}\u{9b}"), "a\\u{202e}b\\u{200b}\\u{2028}\\u{9b}");
    }
}
