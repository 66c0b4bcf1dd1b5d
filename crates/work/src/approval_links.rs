//! Links by which people decide on approvals: whose secret signs them, and where they lead.

use config::{Secret, keys, optional, secret};
use runs::link::{self, ApprovalLink};

keys! {
    /// Links by which people decide on approvals.
    #[derive(Clone, Debug)]
    pub struct ApprovalLinkKeys: "Links of approvals" {
        /// Secret that links of approvals are signed with. Empty: there are no such links.
        approval_secret: Option<Secret> = secret(),
        /// Where people reach the gateway, such as `https://mesh.example.org`. With it, and
        /// `approval_secret`, what a `notify_url` is told has a link for each approver. Empty: it has none.
        approval_url: Option<String> = optional().only(
            is_web,
            "a URL such as https://mesh.example.org, without a path's end",
        ),
    }
}

fn is_web(url: &str) -> bool {
    let rest = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"));
    let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#' | b'@');
    url.is_empty()
        || rest
            .is_some_and(|rest| !rest.is_empty() && !rest.ends_with('/') && rest.bytes().all(plain))
}

/// A link of an approval: the paths of a gateway that take its token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedLink {
    /// Takes a decision.
    pub url: String,
    /// Shows a person what is asked.
    pub page: String,
    /// What both carry.
    pub token: String,
}

impl ApprovalLinkKeys {
    /// The link by which a person decides on an approval; `None` without a secret.
    #[must_use]
    pub fn sign(&self, approval: &str, person: &str, until: u64) -> Option<SignedLink> {
        let secret = self.approval_secret.as_ref()?.expose();
        let link = ApprovalLink {
            approval: approval.to_owned(),
            person: person.to_owned(),
            until,
        };
        let token = link::sign(secret, &link);
        Some(SignedLink {
            url: format!("/api/v1/approvals/{approval}/decide?token={token}"),
            page: format!("/approvals/{approval}?token={token}"),
            token,
        })
    }

    /// The same with the gateway's address, for those who are told of it elsewhere.
    #[must_use]
    pub fn sign_for_others(&self, approval: &str, person: &str, until: u64) -> Option<SignedLink> {
        let base = self.approval_url.as_ref().filter(|url| !url.is_empty())?;
        let link = self.sign(approval, person, until)?;
        Some(SignedLink {
            url: format!("{base}{}", link.url),
            page: format!("{base}{}", link.page),
            token: link.token,
        })
    }
}

#[cfg(test)]
mod tests {
    use config::Loader;

    use super::*;

    fn keys(set: &[(&str, &str)]) -> ApprovalLinkKeys {
        let loader = Loader::new(ApprovalLinkKeys::KEYS.to_vec());
        let set = set.iter();
        let set = set.fold(loader, |loader, (key, value)| loader.set(key, *value));
        ApprovalLinkKeys::from_config(&set.load().unwrap())
    }

    #[test]
    fn a_link_leads_to_the_gateway_and_is_what_its_secret_signed() {
        let both = [
            ("approval_secret", "s"),
            ("approval_url", "https://mesh.example:8443/at"),
        ];
        let keys_of_both = keys(&both);
        let link = keys_of_both.sign_for_others("r.a.0", "ada", 5_000).unwrap();
        assert!(
            link.url
                .starts_with("https://mesh.example:8443/at/api/v1/approvals/r.a.0/decide?token=")
        );
        assert!(
            link.page
                .starts_with("https://mesh.example:8443/at/approvals/r.a.0?token=")
        );
        let allows = link::verify("s", "r.a.0", &link.token, 1).unwrap();
        assert_eq!((allows.person.as_str(), allows.until), ("ada", 5_000));
        for half in both {
            assert_eq!(keys(&[half]).sign_for_others("r.a.0", "ada", 5_000), None);
        }
        assert!(keys(&both[..1]).sign("r.a.0", "ada", 5_000).is_some());
        for wrong in [
            "mesh.example",
            "https://",
            "https://h/",
            "ftp://h",
            "https://a@h",
            "http://h?x",
        ] {
            let loader = Loader::new(ApprovalLinkKeys::KEYS.to_vec());
            assert!(loader.set("approval_url", wrong).load().is_err(), "{wrong}");
        }
    }
}
