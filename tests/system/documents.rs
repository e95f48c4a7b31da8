//! What the documents promise about the program.

use server::config::Config;

#[test]
fn the_settings_in_the_readme_are_the_defaults() {
    let readme = include_str!("../../README.md");
    let (_, settings) = readme.split_once("### Settings").expect("the section");
    let (_, rest) = settings.split_once("```toml\n").expect("a block of settings");
    let (shown, _) = rest.split_once("```").expect("its end");
    let written = |config: &Config| toml::to_string(config).expect("settings can be written");
    let shown = Config::parse(shown).expect("settings that can be read");
    assert_eq!(written(&shown), written(&Config::default()));
}
