// SPDX-License-Identifier: GPL-2.0-only

//! Pictures: lines over a logarithmic axis, as SVG.

use std::fmt::Write;

/// A line and what it is called.
pub struct Series {
    pub name: &'static str,
    pub points: Vec<(f64, f64)>,
}

/// Lines with axes of their own.
pub struct Panel {
    pub title: String,
    pub series: Vec<Series>,
}

const WIDTH: f64 = 320.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 60.0;
const TOP: f64 = 30.0;
const BOTTOM: f64 = 45.0;
const LEGEND: f64 = 30.0;
/// Colours that differ for those who see few.
const COLOURS: [&str; 8] = [
    "#0072b2", "#56b4e9", "#009e73", "#d55e00", "#e69f00", "#cc79a7", "#000000", "#999999",
];

/// Panels side by side, with the same vertical axis from zero, and one legend.
pub fn plot(across: &str, up: &str, panels: &[Panel]) -> String {
    let all = || panels.iter().flat_map(|panel| &panel.series);
    let points = || all().flat_map(|series| &series.points);
    let most = points().map(|(_, y)| *y).fold(1.0, f64::max);
    let step = round_step(most / 5.0);
    let most = (most / step).ceil() * step;
    let width = panels.len() as f64 * (LEFT + WIDTH) + 20.0;
    let height = TOP + HEIGHT + BOTTOM + LEGEND;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"white\"/>\n"
    );
    let mut draw = |text: std::fmt::Arguments| {
        // Writing to a string does not fail.
        let _ = writeln!(svg, "{text}");
    };

    for (nth, panel) in panels.iter().enumerate() {
        let left = nth as f64 * (LEFT + WIDTH) + LEFT;
        let bottom = TOP + HEIGHT;
        let xs = || {
            panel
                .series
                .iter()
                .flat_map(|series| &series.points)
                .map(|point| point.0)
        };
        let (from, to) = (
            xs().fold(f64::MAX, f64::min).log10(),
            xs().fold(1.0, f64::max).log10(),
        );
        let x = |value: f64| left + (value.log10() - from) / (to - from).max(1e-9) * (WIDTH - 20.0);
        let y = |value: f64| bottom - value.max(0.0) / most * HEIGHT;

        draw(format_args!(
            "<text x=\"{left}\" y=\"18\" font-weight=\"bold\">{}</text>",
            panel.title
        ));
        for tick in 0..=(most / step).round() as usize {
            let value = tick as f64 * step;
            let at = y(value);

            draw(format_args!(
                "<line x1=\"{left}\" x2=\"{:.0}\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke=\"#ddd\"/>\
                 <text x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\">{value}</text>",
                left + WIDTH - 20.0,
                left - 6.0,
                at + 4.0
            ));
        }
        let mut ticks: Vec<f64> = xs().collect();
        ticks.sort_by(f64::total_cmp);
        ticks.dedup();
        for tick in ticks {
            draw(format_args!(
                "<text x=\"{:.1}\" y=\"{:.0}\" text-anchor=\"middle\">{tick}</text>",
                x(tick),
                bottom + 16.0
            ));
        }
        draw(format_args!(
            "<text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"middle\">{across}</text>",
            left + WIDTH / 2.0,
            bottom + 34.0
        ));
        if nth == 0 {
            draw(format_args!(
                "<text transform=\"translate(12 {:.0}) rotate(-90)\" text-anchor=\"middle\">{up}</text>",
                TOP + HEIGHT / 2.0
            ));
        }
        for (series, colour) in panel.series.iter().zip(COLOURS.iter().cycle()) {
            let line: Vec<_> = series
                .points
                .iter()
                .map(|(at, value)| format!("{:.1},{:.1}", x(*at), y(*value)))
                .collect();

            draw(format_args!(
                "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" points=\"{}\"/>",
                line.join(" ")
            ));
        }
    }
    if let Some(panel) = panels.first() {
        for (nth, (series, colour)) in panel.series.iter().zip(COLOURS.iter().cycle()).enumerate() {
            let at = LEFT + nth as f64 * 160.0;
            let y = height - 10.0;

            draw(format_args!(
                "<line x1=\"{at}\" x2=\"{}\" y1=\"{}\" y2=\"{}\" stroke=\"{colour}\" stroke-width=\"3\"/>\
                 <text x=\"{}\" y=\"{y}\">{}</text>",
                at + 20.0,
                y - 4.0,
                y - 4.0,
                at + 26.0,
                series.name
            ));
        }
    }
    svg + "</svg>\n"
}

/// The next of 1, 2, 5, 10, 20 and so on.
fn round_step(least: f64) -> f64 {
    let power = 10f64.powf(least.max(1e-9).log10().floor());

    [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|factor| factor * power)
        .find(|step| *step >= least)
        .unwrap_or(10.0 * power)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps() {
        assert_eq!(round_step(130.0), 200.0);
        assert_eq!(round_step(1.0), 1.0);
        assert_eq!(round_step(60.0), 100.0);
    }

    #[test]
    fn picture() {
        let panel = Panel {
            title: "10 % active".into(),
            series: vec![Series {
                name: "epoll",
                points: vec![(10.0, 400.0), (1000.0, 410.0)],
            }],
        };
        let svg = plot("watches", "insn", &[panel]);

        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n"));
        assert_eq!(svg.matches("<polyline").count(), 1);
        assert!(svg.contains(">1000</text>") && svg.contains("10 % active"));
    }
}
