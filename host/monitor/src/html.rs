//! A report as one self-contained page.

use minijinja::{Environment, context};

use crate::{MonitorError, Report, summary::short};

/// The page: no script, no font, no image from elsewhere; charts are inline SVG. Everything that came from data is
/// escaped.
///
/// # Errors
/// [`MonitorError::Render`].
pub fn html(report: &Report) -> Result<String, MonitorError> {
    let mut environment = Environment::new();
    environment.add_filter("short", |value: Option<f64>| value.map_or_else(|| "–".to_owned(), short));
    environment.add_filter("percent", |value: f64| format!("{} %", short((value * 1000.0).round() / 10.0)));
    // SVG coordinates: two decimals are a hundredth of a pixel.
    environment.add_filter("px", |value: f64| format!("{value:.2}"));
    environment.add_template("report.html", include_str!("report.html"))?;
    Ok(environment.get_template("report.html")?.render(context! { report, tallest => tallest(report) })?)
}

/// The highest bar of each column's histogram, by which its chart is scaled.
fn tallest(report: &Report) -> Vec<f64> {
    report
        .columns
        .iter()
        .map(|c| {
            c.summary.histogram.bars.iter().fold(0.0_f64, |m, bar| m.max(bar.reference).max(bar.current)).max(1e-9)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use plinth_ext::{DriftOutcome, Verdict};

    use super::*;
    use crate::{Bar, ColumnClass, ColumnReport, ColumnSummary, DropMax, Histogram, Measure, Performance, TestReport};

    fn report(columns: usize) -> Report {
        let bars =
            (0..24).map(|i| Bar { label: format!("{i} to {}", i + 1), reference: 0.04, current: 0.05 }).collect();
        let column = ColumnReport {
            name: "<script>alert(1)</script>".into(),
            class: ColumnClass::Numeric,
            verdict: Verdict::Drift,
            p_adjusted: Some(1e-12),
            tests: vec![TestReport {
                test: "ks".into(),
                outcome: Some(DriftOutcome {
                    statistic: 0.5,
                    p_value: Some(1e-13),
                    effect_size: Some(0.5),
                    threshold: 0.05,
                    verdict: Verdict::Drift,
                    n_reference: 10,
                    n_current: 10,
                    note: Some("a & b".into()),
                }),
                error: None,
                effect: Some("largest <gap>".into()),
            }],
            summary: ColumnSummary { histogram: Histogram { bars }, ..Default::default() },
            nulls_rose: false,
            notes: vec!["x".into()],
        };
        Report {
            reference: "models:/churn/1".into(),
            current: "new.csv".into(),
            rows_reference: 10,
            rows_current: 10,
            verdict: Verdict::Drift,
            columns_drifted: columns as u32,
            columns_tested: columns as u32,
            columns: vec![column; columns],
            performance: None,
        }
    }

    #[test]
    fn twenty_columns_stay_far_under_a_megabyte_and_need_nothing_from_elsewhere() {
        let page = html(&report(20)).unwrap();
        assert!(page.len() < 300_000, "{} bytes", page.len());
        assert_eq!(page.matches("<svg").count(), 20);
        for outside in ["http://", "https://", "<script", "<link", "<img"] {
            assert!(!page.contains(outside), "{outside}");
        }
    }

    #[test]
    fn what_the_answers_were_worth_is_shown_where_it_is_known() {
        assert!(!html(&report(1)).unwrap().contains("Answers"));
        let measure = |name: &str, recorded| Measure { name: name.into(), current: 0.75, recorded };
        let metrics = vec![measure("accuracy", Some(0.9)), measure("<b>", None)];
        let mut performance = Performance { rows: 120, unread: 3, metrics, judged: None };
        performance.judge("accuracy", DropMax::By(0.05), 50);
        let page = html(&Report { performance: Some(performance), ..report(1) }).unwrap();
        for part in ["120 rows", "3 more", "accuracy", "0.75", "0.9", "worse by 0.15", "&lt;b&gt;"] {
            assert!(page.contains(part), "no {part} in {page}");
        }
    }

    #[test]
    fn what_came_from_data_is_escaped() {
        let page = html(&report(1)).unwrap();
        assert!(page.contains("&lt;script&gt;alert(1)&lt;&#x2f;script&gt;"), "{page}");
        assert!(page.contains("a &amp; b") && page.contains("0.5 (largest &lt;gap&gt;)"), "{page}");
    }
}
