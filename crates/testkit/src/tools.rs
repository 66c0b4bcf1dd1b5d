//! Where programs are: foreign ones in `.tools/bin` or on the PATH, ours built by cargo.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

/// A folder with our programs, to test those instead of building them: `make test` has them built
/// together with the tests.
const BINARIES: &str = "MESH_TEST_BIN";

/// A command that is an MCP server of revision 2026-07-28 without any tool: it answers everything alike.
pub const MCP_SERVER: &str = r#"sh -c 'n=0; while read -r _; do n=$((n + 1)); echo "{\"id\":$n,\"result\":{\"supportedVersions\":[\"2026-07-28\"],\"capabilities\":{}}}"; done'"#;

/// The workspace's folder.
#[must_use]
pub fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors()
        .nth(2)
        .expect("crates/testkit is two below the root")
}

/// A foreign program by name. Its absence is a failure: `make tools` installs them all.
#[must_use]
pub fn tool(name: &str) -> PathBuf {
    let own = root().join(".tools/bin").join(name);
    let path = env::var_os("PATH").unwrap_or_default();
    // Debian keeps daemons where only root looks.
    let system = env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    let found = std::iter::once(own)
        .chain(system.map(|folder| folder.join(name)))
        .find(|candidate| candidate.is_file());
    found.unwrap_or_else(|| {
        panic!("{name} is neither in .tools/bin nor on the PATH: run `make tools`")
    })
}

/// The Python that has grpcio.
#[must_use]
pub fn python() -> PathBuf {
    let python = root().join(".venv/bin/python");
    assert!(
        python.is_file(),
        "{} is missing: run `make tools`",
        python.display()
    );
    python
}

/// A program of MCP's clients and servers by its npm name: `node`, `mcp-inspector`, `conformance`. Its
/// absence is a failure: `make tools` installs them all.
///
/// # Panics
/// When it is missing.
#[must_use]
pub fn mcp_program(name: &str) -> PathBuf {
    let program = mcp_modules().join(".bin").join(name);
    assert!(
        program.is_file(),
        "{} is missing: run `make tools`",
        program.display()
    );
    program
}

/// Where the packages of MCP's TypeScript SDKs are.
#[must_use]
pub fn mcp_modules() -> PathBuf {
    root().join(".tools/pkg/mcp-node/node_modules")
}

/// The folder that Python has to look in for MCP's SDK and jsonschema, as `PYTHONPATH`.
///
/// # Panics
/// When it is missing.
#[must_use]
pub fn mcp_python_path() -> PathBuf {
    let folder = root().join(".tools/pkg/mcp-python");
    assert!(
        folder.is_dir(),
        "{} is missing: run `make tools`",
        folder.display()
    );
    folder
}

/// One of our programs, as this test was built: same target folder, same profile. The first to
/// ask in a process has them all built, which takes no time when they are; processes that ask at
/// once wait for each other on cargo's own lock.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| env::var_os(BINARIES).map_or_else(build, PathBuf::from));
    let program = folder.join(name);
    assert!(program.is_file(), "{} was not built", program.display());
    program
}

/// One of the test kit's examples, in the profile of this test, built when it is older than its source.
///
/// # Panics
/// When it does not build.
#[must_use]
pub fn example(name: &str) -> PathBuf {
    let folder = profile_folder();
    let example = folder.join("examples").join(name);
    // Who had the programs built has had all built.
    if env::var_os(BINARIES).is_none() || !example.is_file() {
        cargo_build(&folder, &["--package", "mesh-testkit", "--example", name]);
    }
    example
}

fn build() -> PathBuf {
    let folder = profile_folder();
    cargo_build(&folder, &["--workspace", "--bins"]);
    folder
}

/// `target/<profile>`
fn profile_folder() -> PathBuf {
    let this = env::current_exe().expect("a test is a file");
    // target/<profile>/deps/<test>
    let folder = this.ancestors().nth(2).expect("cargo puts tests two below");
    folder.to_owned()
}

fn cargo_build(folder: &Path, what: &[&str]) {
    let target = folder.parent().expect("a profile is below the target");
    let profile = match folder.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(name) => name,
    };
    let cargo = option_env!("CARGO").unwrap_or("cargo");
    let built = Command::new(cargo)
        .current_dir(root())
        .args(["build", "--quiet"])
        .args(what)
        .args(["--profile", profile, "--target-dir"])
        .arg(target)
        .output()
        .expect("cargo runs");
    assert!(
        built.status.success(),
        "cargo build {what:?} fails:\n{}",
        String::from_utf8_lossy(&built.stderr)
    );
}
