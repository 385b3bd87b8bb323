//! The few pieces of SVG that the plots in the README are made of.

use std::fmt::Write;

/// On a ground of its own, light or dark as the reader has it.
const HEAD: &str = r"<style>
text { font: 12px system-ui, sans-serif; fill: #1f2328 }
.title { font-weight: 600 }
.faint { fill: #59636e }
.ground { fill: #ffffff }
.line { stroke: #d1d9e0 }
.behind { fill: #9aa4af }
.front { fill: #1f6feb }
@media (prefers-color-scheme: dark) {
  text { fill: #f0f6fc }
  .faint { fill: #9198a1 }
  .ground { fill: #0d1117 }
  .line { stroke: #3d444d }
  .behind { fill: #656c76 }
  .front { fill: #4493f8 }
}
</style>
";

/// A document of this size and title.
pub fn document(width: f64, height: f64, title: &str, body: &str) -> String {
    let size = format!(r#"width="{width:.0}" height="{height:.0}" viewBox="0 0 {width:.0} {height:.0}""#);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" {size} role=\"img\">\n<title>{title}</title>\n{HEAD}<rect \
         class=\"ground\" width=\"100%\" height=\"100%\" rx=\"8\"/>\n{body}</svg>\n"
    )
}

pub fn rect(out: &mut String, (x, y): (f64, f64), (width, height): (f64, f64), class: &str) {
    let _ = writeln!(out, r#"<rect class="{class}" x="{x}" y="{y:.1}" width="{width:.1}" height="{height}"/>"#);
}

pub fn text(out: &mut String, x: f64, y: f64, class: &str, text: &str) {
    let _ = writeln!(out, r#"<text class="{class}" x="{x:.1}" y="{y:.1}">{text}</text>"#);
}

/// A line down through the plot with its figure below.
pub fn line(out: &mut String, x: f64, (top, bottom): (f64, f64), label: &str) {
    let _ = writeln!(out, r#"<line class="line" x1="{x}" y1="{top}" x2="{x}" y2="{bottom:.0}"/>"#);
    let _ =
        writeln!(out, r#"<text class="faint" text-anchor="middle" x="{x}" y="{:.0}">{label}</text>"#, bottom + 16.0);
}
