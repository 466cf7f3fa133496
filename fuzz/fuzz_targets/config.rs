//! A node's configuration: it is read or refused, and what was read means the same when it is written down again.

#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use podsweep::config::Config;
use podsweep::policy::NodeGuard;

const NAME: &str = "podsweep.yaml";

fuzz_target!(|text: &str| {
    match Config::parse(text, Path::new(NAME)) {
        Ok(config) => {
            NodeGuard::new(&config).expect("validated globs compile");
            assert!(config.listen.is_none_or(|address| address.ip().is_loopback()), "strangers stay out");
            assert!(config.listen.is_none() || config.token_file.is_some(), "TCP asks for a token");
            let yaml = serde_saphyr::to_string(&config).expect("a configuration is YAML");
            assert_eq!(Config::parse(&yaml, Path::new(NAME)).expect(&yaml), config, "{yaml}");
        }
        Err(error) => assert!(error.to_string().lines().all(|line| line.starts_with(NAME)), "{error}"),
    }
});
