//! The subcommands of a command: a file and a row each.

/// Defines an enum with a row for each subcommand. Its `run` hands these arguments to the one that
/// was named on the command line, and makes an exit code of what that returns.
macro_rules! subcommands {
    ($(#[$about:meta])* $vis:vis enum $name:ident($($argument:ident: $kind:ty),*) $rows:tt) => {
        subcommands! { @define ($($argument),*) $(#[$about])* $vis $name($($argument: $kind),*) $rows }
    };
    (@define $arguments:tt $(#[$about:meta])* $vis:vis $name:ident($($argument:ident: $kind:ty),*) {
        $($(#[$option:meta])* $command:ident($args:ty),)*
    }) => {
        $(#[$about])*
        #[derive(Debug, clap::Subcommand)]
        $vis enum $name {
            $($(#[$option])* $command($args),)*
        }

        impl $name {
            $vis async fn run(self, $($argument: $kind),*) -> anyhow::Result<std::process::ExitCode> {
                use std::process::Termination as _;
                match self {
                    $(Self::$command(it) => {
                        Ok(subcommands!(@call it.run $arguments).await?.report())
                    })*
                }
            }
        }
    };
    (@call $it:ident.run($($argument:ident),*)) => { $it.run($($argument),*) };
}

pub(crate) use subcommands;
