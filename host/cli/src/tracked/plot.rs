//! `plinth metrics plot`: metrics over steps or time, drawn in the terminal.
//!
//! Runs share a chart where colours can tell them apart; where there are none, each has a chart of its own, and the
//! charts of a metric have the same scale.

use std::{io::IsTerminal, process::ExitCode};

use plinth_core::Micros;
use plinth_tracking::{Run, Tracking};
use serde_json::{Value, json};
use textplots::{Chart, ColorPlot, LabelBuilder, LabelFormat, Plot, Shape};

use super::{args::AxisArg, print, show};
use crate::output::{Failure, Output};

/// How charts are to look.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look {
    pub(super) x: AxisArg,
    /// In columns; as wide as the terminal without it.
    pub(super) width: Option<u16>,
    /// In lines.
    pub(super) height: u16,
}

/// Colours of runs, in turn.
const COLOURS: [(u8, u8, u8); 6] =
    [(86, 156, 214), (214, 157, 86), (106, 190, 113), (200, 110, 180), (220, 96, 96), (180, 180, 90)];
/// Columns where nobody says.
const WIDTH: u16 = 80;
/// Columns that the labels of the values take.
const LABELS: u16 = 14;

/// One run's values of one metric.
struct Line<'a> {
    run: &'a Run,
    points: Vec<Point>,
}

#[derive(Debug, Clone, Copy)]
struct Point {
    step: i64,
    time: Micros,
    value: f64,
}

impl Line<'_> {
    /// Where a point stands.
    fn x(&self, point: &Point, steps: bool) -> f64 {
        if steps { point.step as f64 } else { (point.time - self.run.summary.start) as f64 / 1e6 }
    }

    /// What can be drawn.
    fn drawn(&self, steps: bool) -> Vec<(f32, f32)> {
        let all = self.points.iter().map(|point| (self.x(point, steps) as f32, point.value as f32));
        let mut drawn: Vec<(f32, f32)> = all.filter(|(_, value)| value.is_finite()).collect();
        drawn.sort_by(|a, b| a.0.total_cmp(&b.0));
        drawn
    }
}

/// `plinth metrics plot`
pub(super) fn plot(
    tracking: &Tracking,
    runs: &[Run],
    keys: &[String],
    look: Look,
    output: Output,
) -> Result<ExitCode, Failure> {
    let mut charts = Vec::new();
    for key in keys {
        let mut lines = Vec::new();
        for run in runs.iter().filter(|run| run.metric(key).is_some()) {
            let points = tracking.metric_history(&run.summary.run_id, key)?;
            let points = points.iter().map(|p| Point { step: p.step, time: p.time, value: p.value }).collect();
            lines.push(Line { run, points });
        }
        charts.push((key, by_steps(look.x, &lines), lines));
    }
    let value = charts.iter().map(|(key, steps, lines)| json_of(key, *steps, lines)).collect::<Value>();
    print(output, &json!({"plots": value}), || {
        let width = look.width.or_else(terminal_width).unwrap_or(WIDTH);
        let color = output.color && std::io::stdout().is_terminal();
        charts.iter().map(|(key, steps, lines)| draw(key, *steps, lines, width, look.height, color)).collect()
    })
}

/// Whether points stand over steps.
fn by_steps(axis: AxisArg, lines: &[Line<'_>]) -> bool {
    match axis {
        AxisArg::Step => true,
        AxisArg::Time => false,
        AxisArg::Auto => {
            let all = || lines.iter().flat_map(|line| &line.points);
            all().count() < 2 || all().any(|point| Some(point.step) != all().next().map(|first| first.step))
        }
    }
}

fn json_of(key: &str, steps: bool, lines: &[Line<'_>]) -> Value {
    let runs = lines.iter().map(|line| {
        let points = line.points.iter().map(|point| {
            json!({
                "x": line.x(point, steps), "step": point.step, "time": point.time, "value": show::number(point.value),
            })
        });
        json!({
            "run_id": line.run.summary.run_id, "name": line.run.summary.name, "points": points.collect::<Value>(),
        })
    });
    json!({"key": key, "x": if steps { "step" } else { "seconds" }, "runs": runs.collect::<Value>()})
}

fn terminal_width() -> Option<u16> {
    comfy_table::Table::new().width()
}

fn draw(key: &str, steps: bool, lines: &[Line<'_>], width: u16, height: u16, color: bool) -> String {
    let drawn: Vec<Vec<(f32, f32)>> = lines.iter().map(|line| line.drawn(steps)).collect();
    let over = if steps { "step" } else { "seconds" };
    let all = || drawn.iter().flatten();
    if all().next().is_none() {
        return format!("{key}: no finite value\n");
    }
    let x = range(all().map(|point| point.0));
    let y = range(all().map(|point| point.1));
    let mut text = String::new();
    let together = color || drawn.len() == 1;
    let groups: Vec<Vec<usize>> =
        if together { vec![(0..drawn.len()).collect()] } else { (0..drawn.len()).map(|at| vec![at]).collect() };
    for group in groups {
        let names: Vec<String> = group.iter().map(|&at| legend(&lines[at], at, color && drawn.len() > 1)).collect();
        text.push_str(&format!("{key} over {over}: {}\n", names.join(", ")));
        let shapes: Vec<(usize, Shape<'_>)> = group.iter().map(|&at| (at, shape(&drawn[at]))).collect();
        // Dots are four to a line and two to a column.
        let (dots_x, dots_y) = (u32::from(width.saturating_sub(LABELS).max(16)) * 2, u32::from(height) * 4);
        let mut chart = Chart::new_with_y_range(dots_x, dots_y, x.0, x.1, y.0, y.1);
        let mut chart = chart
            .x_label_format(LabelFormat::Custom(Box::new(|value| show::short(f64::from(value)))))
            .y_label_format(LabelFormat::Custom(Box::new(|value| show::short(f64::from(value)))));
        for (at, shape) in &shapes {
            chart = if color && drawn.len() > 1 {
                let (r, g, b) = COLOURS[at % COLOURS.len()];
                chart.linecolorplot(shape, (r, g, b).into())
            } else {
                chart.lineplot(shape)
            };
        }
        chart.figures();
        // Blank patterns at the end of a line are of no use to anyone.
        text.extend(chart.to_string().lines().map(|line| format!("{}\n", line.trim_end_matches(['\u{2800}', ' ']))));
    }
    text
}

/// A single point makes no line.
fn shape(points: &[(f32, f32)]) -> Shape<'_> {
    if points.len() == 1 { Shape::Points(points) } else { Shape::Lines(points) }
}

/// What the line of a run is called, in the colour of its line.
fn legend(line: &Line<'_>, at: usize, color: bool) -> String {
    let id: String = line.run.summary.run_id.chars().take(8).collect();
    let name = format!("{} ({id})", line.run.summary.name);
    if !color {
        return name;
    }
    let (r, g, b) = COLOURS[at % COLOURS.len()];
    format!("\x1b[38;2;{r};{g};{b}m{name}\x1b[0m")
}

/// Smallest and largest, with some room where there is but one value.
fn range(values: impl Iterator<Item = f32>) -> (f32, f32) {
    let (low, high) = values.fold((f32::INFINITY, f32::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
    if low < high {
        return (low, high);
    }
    let room = (low.abs() * 0.1).max(0.5);
    (low - room, high + room)
}
