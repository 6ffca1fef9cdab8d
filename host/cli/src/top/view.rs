//! The picture of a server in the terminal.

use std::{
    collections::VecDeque,
    io::{self, Write},
    process::ExitCode,
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use ratatui::{
    Frame, Terminal,
    backend::TermionBackend,
    layout::{Constraint, Layout},
    style::{Color, Modifier, Style},
    termion::{event::Key, input::TermRead, raw::IntoRawMode, screen::IntoAlternateScreen},
    text::Line,
    widgets::{Cell, Row, Sparkline, Table},
};

use super::{
    Scraper,
    sample::{Deployment, Rates, Sample},
};
use crate::output::{Failure, io_failure};

/// What is told of a deployment.
pub(super) const COLUMNS: [&str; 11] =
    ["ENDPOINT", "DEPLOYMENT", "MODEL", "VERSION", "SHARE", "REQ/S", "FAIL/S", "ROWS/S", "BATCH", "P50 MS", "P99 MS"];
/// Looks that the line of requests shows at most.
const HISTORY: usize = 512;

/// A deployment, in the order of [`COLUMNS`].
pub(super) fn cells(deployment: &Deployment) -> [String; 11] {
    let number = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), short);
    [
        deployment.endpoint.clone(),
        deployment.deployment.clone(),
        deployment.model.clone(),
        deployment.version.clone(),
        format!("{:.0}%", deployment.share),
        short(deployment.requests_per_second),
        short(deployment.failed_per_second),
        short(deployment.rows_per_second),
        number(deployment.rows_per_batch),
        number(deployment.p50_ms),
        number(deployment.p99_ms),
    ]
}

/// The server as a whole, in a line.
pub(super) fn summary(rates: &Rates) -> String {
    let lost = if rates.capture_rows_lost > 0.0 {
        format!(", {} captured rows lost", short(rates.capture_rows_lost))
    } else {
        String::new()
    };
    format!(
        "{} requests/s, {} in flight, {} waiting, {} shed/s{lost}",
        short(rates.requests_per_second),
        short(rates.in_flight),
        short(rates.waiting),
        short(rates.shed_per_second),
    )
}

/// Three digits are enough to watch.
fn short(value: f64) -> String {
    match value {
        _ if value == 0.0 => "0".to_owned(),
        _ if value >= 1e6 => format!("{:.1}M", value / 1e6),
        _ if value >= 1e4 => format!("{:.1}k", value / 1e3),
        _ if value >= 100.0 => format!("{value:.0}"),
        _ if value >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// Shows the server until a key ends it.
pub(super) fn show(scraper: &Scraper, first: Sample, interval: Duration) -> Result<ExitCode, Failure> {
    let mut screen = Screen {
        url: &scraper.url,
        interval,
        rates: Rates::between(&first, &first),
        history: VecDeque::new(),
        trouble: None,
        held: false,
        sorted_by: 0,
    };
    let broken = |error: io::Error| io_failure("the terminal", &error);
    // Both put the terminal back when they go out of scope, which they also do when a panic passes.
    let raw = io::stdout().into_raw_mode().and_then(IntoAlternateScreen::into_alternate_screen).map_err(broken)?;
    let mut terminal = Terminal::new(TermionBackend::new(raw)).map_err(broken)?;
    watch(&mut terminal, scraper, first, &mut screen, &keys()).map_err(broken)?;
    terminal.show_cursor().map_err(broken)?;
    Ok(ExitCode::SUCCESS)
}

/// The keys that are pressed. The thread that waits for them ends with the process.
fn keys() -> Receiver<Key> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for key in io::stdin().keys().map_while(Result::ok) {
            if sender.send(key).is_err() {
                return;
            }
        }
    });
    receiver
}

fn watch<W: Write>(
    terminal: &mut Terminal<TermionBackend<W>>,
    scraper: &Scraper,
    mut last: Sample,
    screen: &mut Screen<'_>,
    keys: &Receiver<Key>,
) -> io::Result<()> {
    let mut next = Instant::now() + screen.interval;
    loop {
        terminal.draw(|frame| screen.draw(frame))?;
        match keys.recv_timeout(next.saturating_duration_since(Instant::now())) {
            // Without a keyboard nobody could end it.
            Ok(Key::Char('q') | Key::Esc | Key::Ctrl('c' | 'd')) | Err(RecvTimeoutError::Disconnected) => return Ok(()),
            Ok(Key::Char('p')) => screen.held = !screen.held,
            Ok(Key::Char('s')) => screen.sorted_by = (screen.sorted_by + 1) % COLUMNS.len(),
            Ok(_) => {}
            Err(RecvTimeoutError::Timeout) => {
                next = Instant::now() + screen.interval;
                match scraper.look() {
                    Ok(sample) => {
                        screen.trouble = None;
                        if !screen.held {
                            screen.take(Rates::between(&last, &sample));
                        }
                        last = sample;
                    }
                    // The last picture stays, with what is wrong: a server that restarts comes back.
                    Err(failure) => screen.trouble = Some(failure.message),
                }
            }
        }
    }
}

struct Screen<'a> {
    url: &'a str,
    interval: Duration,
    rates: Rates,
    /// Requests a second, the newest first.
    history: VecDeque<u64>,
    trouble: Option<String>,
    held: bool,
    /// A column of the table.
    sorted_by: usize,
}

impl Screen<'_> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate is neither negative nor huge")]
    fn take(&mut self, rates: Rates) {
        self.history.push_front(rates.requests_per_second.round() as u64);
        self.history.truncate(HISTORY);
        self.rates = rates;
    }

    fn draw(&self, frame: &mut Frame<'_>) {
        let [head, numbers, curve, body, foot] = Layout::vertical([
            Constraint::Length(1),
            Constraint::Length(1),
            Constraint::Length(4),
            Constraint::Min(3),
            Constraint::Length(1),
        ])
        .areas(frame.area());
        let bold = Style::new().add_modifier(Modifier::BOLD);
        let every = humantime::format_duration(self.interval);
        frame.render_widget(Line::styled(format!("plinth top  {}  every {every}", self.url), bold), head);
        let second = match &self.trouble {
            Some(trouble) => Line::styled(trouble.clone(), Style::new().fg(Color::Red)),
            None => Line::raw(summary(&self.rates)),
        };
        frame.render_widget(second, numbers);
        let newest: Vec<u64> = self.history.iter().take(curve.width.into()).rev().copied().collect();
        frame.render_widget(Sparkline::default().data(newest).style(Style::new().fg(Color::Cyan)), curve);

        let header = COLUMNS.iter().enumerate().map(|(at, name)| {
            Cell::from(*name).style(if at == self.sorted_by { bold.add_modifier(Modifier::UNDERLINED) } else { bold })
        });
        let rows = self.sorted().into_iter().map(|deployment| {
            let style = if deployment.failed_per_second > 0.0 { Style::new().fg(Color::Red) } else { Style::new() };
            Row::new(cells(deployment)).style(style)
        });
        let names = [Constraint::Fill(2), Constraint::Fill(2), Constraint::Fill(2)];
        let figures = std::iter::repeat_n(Constraint::Length(8), COLUMNS.len() - names.len());
        let table = Table::new(rows, names.into_iter().chain(figures)).header(Row::new(header));
        frame.render_widget(table, body);
        let held = if self.held { "  HELD" } else { "" };
        frame.render_widget(Line::raw(format!("q quit  s sort by the next column  p hold{held}")), foot);
    }

    /// Names rise, figures fall.
    fn sorted(&self) -> Vec<&Deployment> {
        let mut all: Vec<&Deployment> = self.rates.deployments.iter().collect();
        let figure = |deployment: &Deployment| match self.sorted_by {
            4 => Some(deployment.share),
            5 => Some(deployment.requests_per_second),
            6 => Some(deployment.failed_per_second),
            7 => Some(deployment.rows_per_second),
            8 => deployment.rows_per_batch,
            9 => deployment.p50_ms,
            10 => deployment.p99_ms,
            _ => None,
        };
        all.sort_by(|a, b| {
            let by_figure = figure(b).unwrap_or(-1.0).total_cmp(&figure(a).unwrap_or(-1.0));
            by_figure.then_with(|| cells(a)[self.sorted_by].cmp(&cells(b)[self.sorted_by]))
        });
        all
    }
}

#[cfg(test)]
mod tests {
    use ratatui::{Terminal, backend::TestBackend};

    use super::*;

    #[test]
    fn a_picture_has_the_figures_and_what_is_wrong() {
        let deployment = |name: &str, requests: f64| Deployment {
            endpoint: "churn".into(),
            deployment: name.into(),
            model: "churn".into(),
            version: "3".into(),
            share: 50.0,
            requests_per_second: requests,
            failed_per_second: 0.0,
            rows_per_second: requests,
            rows_per_batch: Some(1.0),
            p50_ms: Some(0.25),
            p99_ms: None,
        };
        let rates = Rates {
            seconds: 1.0,
            requests_per_second: 12_345.0,
            in_flight: 3.0,
            waiting: 0.0,
            shed_per_second: 0.0,
            capture_rows_lost: 0.0,
            deployments: vec![deployment("canary", 1.0), deployment("champion", 900.0)],
        };
        let interval = Duration::from_secs(1);
        let mut screen = Screen {
            url: "http://here",
            interval,
            rates,
            history: [1, 5].into(),
            trouble: None,
            held: false,
            sorted_by: 5,
        };
        let mut terminal = Terminal::new(TestBackend::new(110, 12)).unwrap();
        let mut picture = |screen: &Screen<'_>| {
            terminal.draw(|frame| screen.draw(frame)).unwrap();
            terminal.backend().to_string()
        };
        let shown = picture(&screen);
        assert!(shown.contains("12.3k requests/s, 3.00 in flight"), "{shown}");
        let place = |name: &str| shown.find(name).unwrap_or_else(|| panic!("no {name} in {shown}"));
        assert!(place("champion") < place("canary") && shown.contains("0.25"), "{shown}");
        screen.trouble = Some("http://here/metrics: connection refused".into());
        assert!(picture(&screen).contains("connection refused"));
    }
}
