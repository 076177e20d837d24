//! Aligned columns for people. Chinese characters are two columns wide on a terminal.

use unicode_width::UnicodeWidthStr;

/// A table with a header.
pub(super) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty table; each row must have as many cells as `header`.
    pub fn new(header: &[&str]) -> Self {
        Table { rows: vec![header.iter().map(|name| (*name).to_owned()).collect()] }
    }

    /// Adds a row. What could move the cursor or change colours is replaced in its cells.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.iter().map(|cell| clean(cell)).collect());
    }

    /// Two spaces between columns, none at a line's end, no line end after the last row.
    pub fn render(&self) -> String {
        let columns = self.rows[0].len();
        let width = |column: usize| self.rows.iter().map(|row| row[column].width()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let lines: Vec<String> = self.rows.iter().map(|row| line(row, &widths)).collect();
        lines.join("\n")
    }
}

fn line(cells: &[String], widths: &[usize]) -> String {
    let mut line = String::new();
    for (cell, width) in cells.iter().zip(widths) {
        line.push_str(cell);
        line.push_str(&" ".repeat(width.saturating_sub(cell.width()) + 2));
    }
    line.truncate(line.trim_end().len());
    line
}

/// `text` on one line, safe for a terminal: control characters become `�`.
pub(super) fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_also_with_wide_characters() {
        let mut table = Table::new(&["CODE", "MEANING", "JOBS"]);
        table.row(["2".into(), "提交成功".into(), "10".into()]);
        table.row(["4051".into(), "no".into(), String::new()]);
        assert_eq!(table.render(), "CODE  MEANING   JOBS\n2     提交成功  10\n4051  no");
    }

    #[test]
    fn escape_sequences_do_not_reach_the_terminal() {
        let mut table = Table::new(&["MESSAGE"]);
        table.row(["\x1b[31mred\nnext".into()]);
        assert_eq!(table.render(), "MESSAGE\n\u{fffd}[31mred\u{fffd}next");
    }
}
