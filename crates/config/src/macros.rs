//! The two macros that definitions are written with.

/// Defines a struct whose fields are configuration keys, its group of keys, how it is read from a
/// [`crate::Config`], and its default. A field's documentation is the key's text; its name is the
/// key's. Fields under `with` are no keys: an expression reads them from the configuration.
///
/// ```
/// use mesh_config::{Config, keys, port, text};
///
/// keys! {
///     /// Where the program listens.
///     #[derive(Clone, Debug)]
///     pub struct Listen: "The port" {
///         /// IP address to listen on.
///         address: String = text("0.0.0.0"),
///         /// Port to listen on.
///         port: u16 = port(50052),
///     }
/// }
///
/// assert_eq!(Listen::from_config(&Config::default()).port, 50052);
/// assert_eq!(Listen::KEYS[0].about(), "IP address to listen on.");
/// ```
#[macro_export]
macro_rules! keys {
    (
        $(#[$meta:meta])*
        $vis:vis struct $name:ident: $title:literal $(, absent: $lacking:literal)? {
            $(
                $(#[doc = $about:literal])+
                $field:ident: $ty:ty = $kind:expr,
            )*
        }
        $(with {
            $( $(#[$extra_meta:meta])* $extra:ident: $extra_ty:ty = $read:expr, )*
        })?
        $(retired {
            $( $old:literal => $instead:literal, )*
        })?
        $(removed {
            $( $gone:literal => $why:literal, )*
        })?
    ) => {
        $(#[$meta])*
        $vis struct $name {
            $( $(#[doc = $about])+ $vis $field: $ty, )*
            $( $( $(#[$extra_meta])* $vis $extra: $extra_ty, )* )?
        }

        #[allow(
            dead_code,
            clippy::redundant_closure_call,
            reason = "not every struct needs every part"
        )]
        impl $name {
            /// Its keys.
            $vis const KEYS: &'static [$crate::Key] = &[
                $( {
                    const KIND: $crate::Kind<$ty> = $kind;
                    KIND.key(stringify!($field), concat!($($about, "\n"),+))
                }, )*
            ];

            /// Its keys, and what is said of them together.
            $vis const GROUP: $crate::Group = $crate::Group {
                title: $title,
                lacking: concat!("" $(, $lacking)?),
                keys: Self::KEYS,
                retired: &[
                    $($( $crate::Retired { name: $old, advice: $instead, has_successor: true }, )*)?
                    $($( $crate::Retired { name: $gone, advice: $why, has_successor: false }, )*)?
                ],
            };

            /// The values that the configuration gives; the defaults of keys that it does not have.
            #[must_use]
            $vis fn from_config(config: &$crate::Config) -> Self {
                Self {
                    $( $field: {
                        const KIND: $crate::Kind<$ty> = $kind;
                        config.read(KIND.name(stringify!($field)), &KIND)
                    }, )*
                    $( $( $extra: ($read)(config), )* )?
                }
            }
        }

        impl ::std::default::Default for $name {
            fn default() -> Self {
                Self::from_config(&<$crate::Config as ::std::default::Default>::default())
            }
        }
    };
}

/// Defines an enum whose variants are the words that a key may be. The first is the enum's default.
///
/// ```
/// mesh_config::choice! {
///     /// How a log line looks.
///     pub enum Format {
///         /// For people.
///         Text = "text",
///         /// For programs.
///         Json = "json",
///     }
/// }
/// ```
#[macro_export]
macro_rules! choice {
    (
        $(#[$meta:meta])*
        $vis:vis enum $name:ident {
            $( $(#[$variant_meta:meta])* $variant:ident = $word:literal, )+
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        $vis enum $name {
            $( $(#[$variant_meta])* $variant, )+
        }

        impl $crate::Choice for $name {
            const WORDS: &'static [&'static str] = &[$($word),+];

            fn of(word: &str) -> Option<Self> {
                match word {
                    $( $word => Some(Self::$variant), )+
                    _ => None,
                }
            }
        }

        impl ::std::default::Default for $name {
            fn default() -> Self {
                [$(Self::$variant),+][0]
            }
        }
    };
}
