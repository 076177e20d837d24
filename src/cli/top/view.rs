//! The picture on a terminal. Colours only stress what the words say too.

use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Block, Borders, Cell, Paragraph, Row, Table, Widget};
use unicode_width::UnicodeWidthStr;

use super::frame::{Frame, Limiter, Order};
use crate::cli::table::clean;

/// What stands above and below the panels.
pub(super) struct Heading<'a> {
    /// Where the figures are from.
    pub url: &'a str,
    /// When they were asked for, in words.
    pub time: &'a str,
    /// The keys that do something; none on paper.
    pub live: bool,
    /// Refreshing is paused.
    pub paused: bool,
    /// Of the failures.
    pub order: Order,
}

const HEAD: Style = Style::new().add_modifier(Modifier::BOLD);
const ALARM: Style = Style::new().fg(Color::Red).add_modifier(Modifier::BOLD);
/// A panel's borders and its header.
const AROUND: u16 = 3;
/// From here on every column of the upper panels has room beside the names.
const WIDE: u16 = 114;

/// How many lines the whole picture needs.
pub(super) fn height(frame: &Frame) -> u16 {
    let upper = frame.rates.len().max(frame.queues.len()).max(frame.limiters.len() + 1);
    let rows = upper + frame.accounts.len().max(1) + frame.failures.len().max(1) + frame.problems.len();
    u16::try_from(rows).unwrap_or(u16::MAX).saturating_add(3 * AROUND + 2)
}

/// Draws the picture into `area`; what finds no place is cut off at the end.
pub(super) fn draw(frame: &Frame, heading: &Heading<'_>, area: Rect, buffer: &mut Buffer) {
    let lines = |rows: usize| u16::try_from(rows).unwrap_or(u16::MAX).saturating_add(AROUND);
    let upper = frame.rates.len().max(frame.queues.len()).max(frame.limiters.len() + 1);
    let [head, problems, top, accounts, failures, keys] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(frame.problems.len() as u16),
        Constraint::Length(lines(upper)),
        Constraint::Length(lines(frame.accounts.len().max(1))),
        Constraint::Min(0),
        Constraint::Length(1),
    ])
    .areas(area);
    Paragraph::new(title(heading)).style(HEAD).render(head, buffer);
    let told: Vec<Line> = frame.problems.iter().map(|problem| Line::styled(clean(problem), ALARM)).collect();
    Paragraph::new(told).render(problems, buffer);
    draw_top(frame, top, buffer);
    draw_accounts(frame, accounts, buffer);
    draw_failures(frame, heading.order, failures, buffer);
    if heading.live {
        Paragraph::new("q quit   p pause   s sort the failures").render(keys, buffer);
    }
}

fn title(heading: &Heading<'_>) -> String {
    let paused = if heading.paused { "   PAUSED" } else { "" };
    format!("dispatcher top   {}   {}{paused}", clean(heading.url), heading.time)
}

fn draw_top(frame: &Frame, area: Rect, buffer: &mut Buffer) {
    let is_wide = area.width >= WIDE;
    let widths = match is_wide {
        true => [Constraint::Ratio(1, 3), Constraint::Ratio(1, 3), Constraint::Ratio(1, 3)],
        false => [Constraint::Length(22), Constraint::Fill(1), Constraint::Length(19)],
    };
    let [rates, queues, limiters] = Layout::horizontal(widths).areas(area);
    draw_rates(frame, is_wide, rates, buffer);
    draw_queues(frame, queues, buffer);
    draw_limiters(frame, is_wide, limiters, buffer);
}

fn draw_rates(frame: &Frame, is_wide: bool, area: Rect, buffer: &mut Buffer) {
    let widths = [Constraint::Fill(1), Constraint::Length(10)];
    if is_wide {
        let rows = frame.rates.iter().map(|rate| cells([rate.name.into(), number(rate.per_second), count(rate.total)]));
        let widths = widths.into_iter().chain([Constraint::Length(10)]);
        panel("Rates", ["", "per second", "total"], widths, rows).render(area, buffer);
    } else {
        let rows = frame.rates.iter().map(|rate| cells([rate.name.into(), number(rate.per_second)]));
        panel("Rates", ["", "per second"], widths, rows).render(area, buffer);
    }
}

fn draw_queues(frame: &Frame, area: Rect, buffer: &mut Buffer) {
    let rows = frame.queues.iter().map(|queue| {
        let is_bad = queue.jobs > 0.0 && matches!(queue.name.as_str(), "ready, dead" | "in doubt");
        cells([queue.name.clone(), count(queue.jobs)]).style(alarm_if(is_bad))
    });
    panel("Queues", ["", "jobs"], [Constraint::Fill(1), Constraint::Length(8)], rows).render(area, buffer);
}

fn draw_limiters(frame: &Frame, is_wide: bool, area: Rect, buffer: &mut Buffer) {
    let state = if frame.circuit_open { "OPEN" } else { "closed" };
    let alarm = alarm_if(frame.circuit_open);
    let wait = |limiter: &Limiter| limiter.mean_ms.map(number).unwrap_or_default();
    if is_wide {
        let row = |limiter: &Limiter| cells([limiter.name.into(), number(limiter.per_second), wait(limiter)]);
        let circuit = cells(["gateway circuit".into(), state.into(), String::new()]).style(alarm);
        let rows = frame.limiters.iter().map(row).chain([circuit]);
        let widths = [Constraint::Fill(1), Constraint::Length(10), Constraint::Length(9)];
        panel("Limiters", ["", "per second", "wait, ms"], widths, rows).render(area, buffer);
    } else {
        let row = |limiter: &Limiter| cells([limiter.name.into(), wait(limiter)]);
        let circuit = cells(["circuit".into(), state.into()]).style(alarm);
        let rows = frame.limiters.iter().map(row).chain([circuit]);
        let widths = [Constraint::Fill(1), Constraint::Length(9)];
        panel("Limiters", ["", "wait, ms"], widths, rows).render(area, buffer);
    }
}

fn draw_accounts(frame: &Frame, area: Rect, buffer: &mut Buffer) {
    let rows = frame.accounts.iter().map(|account| {
        cells([
            account.name.clone(),
            if account.paused { "PAUSED".into() } else { "active".into() },
            number(account.accepted_per_second),
            count(account.in_flight),
            account.reply_ms.map(number).unwrap_or_default(),
            account.balance.map(count).unwrap_or_default(),
            clean(&account.reason),
        ])
        .style(alarm_if(account.paused))
    });
    let header = ["", "state", "accepted/s", "on wire", "reply, ms", "balance", "reason"];
    let widths = [16, 7, 10, 8, 9, 9].map(Constraint::Length);
    let widths = widths.into_iter().chain([Constraint::Fill(1)]);
    panel("Accounts", header, widths, rows).render(area, buffer);
}

fn draw_failures(frame: &Frame, order: Order, area: Rect, buffer: &mut Buffer) {
    let rows = frame.failures.iter().map(|failure| {
        cells([
            failure.code.clone(),
            failure.outcome.clone(),
            number(failure.per_second),
            count(failure.total),
            failure.meaning.clone(),
        ])
    });
    let widths = [7, 10, 10, 10].map(Constraint::Length).into_iter().chain([Constraint::Fill(1)]);
    let title = format!("Failures by code, sorted by {}", order.as_str());
    panel(&title, ["code", "outcome", "per second", "total", "meaning"], widths, rows).render(area, buffer);
}

fn panel<'a, const N: usize>(
    title: &str,
    header: [&'a str; N],
    widths: impl IntoIterator<Item = Constraint>,
    rows: impl IntoIterator<Item = Row<'a>>,
) -> Table<'a> {
    let block = Block::new().borders(Borders::ALL).title(format!(" {title} "));
    Table::new(rows, widths.into_iter().collect::<Vec<_>>()).header(Row::new(header).style(HEAD)).block(block)
}

fn cells<const N: usize>(texts: [String; N]) -> Row<'static> {
    Row::new(texts.map(Cell::from))
}

fn alarm_if(is: bool) -> Style {
    if is { ALARM } else { Style::new() }
}

/// Short enough for a column: `0.4`, `12.5`, `1200`.
fn number(value: f64) -> String {
    if value >= 100.0 || value == 0.0 { format!("{value:.0}") } else { format!("{value:.1}") }
}

/// In at most eight letters, as columns are narrow: `1000M` for a thousand million.
fn count(value: f64) -> String {
    if value < 1e8 { format!("{value:.0}") } else { format!("{:.0}M", value / 1e6) }
}

/// A picture as text, without colours and without empty line ends.
pub(super) fn text(buffer: &Buffer) -> String {
    let area = buffer.area;
    let line = |y: u16| {
        let mut line = String::new();
        let mut x = area.left();
        while x < area.right() {
            let symbol = buffer[(x, y)].symbol();
            line.push_str(symbol);
            // A wide character covers the cells behind it.
            x += u16::try_from(symbol.width().max(1)).unwrap_or(1);
        }
        line.trim_end().to_owned()
    };
    let lines: Vec<String> = (area.top()..area.bottom()).map(line).collect();
    lines.join("\n").trim_end().to_owned()
}
