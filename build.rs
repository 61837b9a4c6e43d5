//! Compiles `proto/` into Rust with a pure-Rust compiler, so that no `protoc` need be installed.
//!
//! Must never run anything but the compiler, nor write but under `OUT_DIR`.
//! Called by cargo; `src/proto` includes what it writes.

use prost::Message as _;
use std::path::PathBuf;

const KEY_SERVICE: &str = "servos/keyd/v1/key_service.proto";
const SERVICES: [&str; 2] = [KEY_SERVICE, "servos/keyd/v1/key_admin.proto"];
const RECORDS: [&str; 1] = ["servos/keyd/store/v1/records.proto"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    // How much stack a call uses goes by whether it is optimised; no built-in condition tells that.
    println!("cargo::rustc-check-cfg=cfg(optimised)");
    if std::env::var_os("OPT_LEVEL").is_some_and(|level| level != "0") {
        println!("cargo::rustc-cfg=optimised");
    }
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);

    let services = protox::compile(SERVICES, ["proto"])?;
    // Reflection serves exactly the services; the store's records are nobody's business.
    std::fs::write(out.join("services.bin"), services.encode_to_vec())?;
    // The component socket shows only what it serves.
    std::fs::write(out.join("key_service.bin"), protox::compile([KEY_SERVICE], ["proto"])?.encode_to_vec())?;
    tonic_prost_build::configure()
        // Messages carry plaintexts: none of them can be printed.
        .skip_debug(["."])
        // tonic's own codec answers a malformed message with text that names our fields.
        .codec_path("crate::proto::codec::StrictCodec")
        .build_server(std::env::var_os("CARGO_FEATURE_DAEMON").is_some())
        .build_transport(false)
        .compile_fds(services)?;

    if std::env::var_os("CARGO_FEATURE_DAEMON").is_some() {
        let records = protox::compile(RECORDS, ["proto"])?;
        tonic_prost_build::configure().skip_debug(["."]).compile_fds(records)?;
    }
    Ok(())
}
