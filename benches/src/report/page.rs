//! A page under construction. It owns the difference between markup and text: markup is written in this program's
//! source, everything else is escaped, so that no name in a result file can become markup.

use super::plots::Svg;

/// HTML so far.
#[derive(Default)]
pub(super) struct Page(String);

impl Page {
    /// Markup of this program's own. What comes from a file cannot get here: it does not live that long.
    pub(super) fn markup(&mut self, markup: &'static str) -> &mut Page {
        self.0.push_str(markup);
        self
    }

    /// Text, escaped for content and for attributes alike.
    pub(super) fn text(&mut self, text: &str) -> &mut Page {
        for char in text.chars() {
            match char {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                other => self.0.push(other),
            }
        }
        self
    }

    /// A drawing with what it shows in words, for those who do not see it. The class picks the screens it is for.
    pub(super) fn drawing(&mut self, class: &'static str, svg: &Svg, says: &str) -> &mut Page {
        let (width, height) = svg.view;
        self.markup("<svg class=\"").markup(class).markup("\" role=\"img\" viewBox=\"0 0 ");
        self.text(&width.to_string()).markup(" ").text(&height.to_string()).markup("\" aria-label=\"");
        self.text(says).markup("\">\n");
        // The backend escapes the texts of a drawing itself.
        self.0.push_str(&svg.inner);
        self.markup("</svg>\n")
    }

    /// The whole.
    pub(super) fn finish(self) -> String {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_become_markup() {
        let mut page = Page::default();
        page.markup("<p title=\"").text("\"><script>alert('1' & 2)</script>").markup("\">");
        assert_eq!(page.finish(), "<p title=\"&quot;&gt;&lt;script&gt;alert(&#39;1&#39; &amp; 2)&lt;/script&gt;\">");
    }
}
