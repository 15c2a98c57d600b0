//! The control UI: a page without a framework or a build step, embedded in the binary.
//!
//! It loads nothing from elsewhere and holds no inline code, so that a strict content policy fits it. Serving
//! it is `http::control_ui`'s matter.

/// One file of the page.
pub struct File {
    /// Its path below the base of the UI.
    pub name: &'static str,
    pub bytes: &'static [u8],
}

/// The page itself. It names its assets relative to its own address: `http::control_ui` finds them from any depth.
pub const INDEX: File = File {
    name: "index.html",
    bytes: include_bytes!("index.html"),
};

/// All files.
pub const FILES: &[File] = &[
    INDEX,
    File {
        name: "assets/app.js",
        bytes: include_bytes!("app.js"),
    },
    File {
        name: "assets/gateway.js",
        bytes: include_bytes!("gateway.js"),
    },
    File {
        name: "assets/style.css",
        bytes: include_bytes!("style.css"),
    },
    File {
        name: "favicon.svg",
        bytes: include_bytes!("favicon.svg"),
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes of the whole page before compression.
    const BUDGET: usize = 40 * 1024;

    fn text(file: &File) -> &str {
        std::str::from_utf8(file.bytes).unwrap()
    }

    #[test]
    fn the_page_is_small() {
        let total: usize = FILES.iter().map(|f| f.bytes.len()).sum();
        assert!(total <= BUDGET, "{total} bytes");
    }

    #[test]
    fn ui_05_nothing_is_inline_and_nothing_is_built_from_text() {
        let html = text(&INDEX);
        assert!(!html.contains("<style") && !html.contains(" style="));
        assert!(!html.contains(" onclick") && !html.contains("javascript:"));
        for script in html.split("<script").skip(1) {
            assert!(script.contains("src=") && script.contains("></script>"));
        }
        for file in FILES.iter().filter(|f| f.name.ends_with(".js")) {
            for way in [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "eval(",
                "new Function",
            ] {
                assert!(!text(file).contains(way), "{way} in {}", file.name);
            }
        }
    }

    #[test]
    fn nothing_is_fetched_from_elsewhere() {
        for file in FILES {
            let names_a_host = text(file)
                .replace("http://www.w3.org/2000/svg", "")
                .contains("://");
            // The page's own socket is the one address that is put together.
            assert!(
                !names_a_host || file.name == "assets/gateway.js",
                "{}",
                file.name
            );
        }
    }
}
