//! Tokens.

use bfp_bundle::envelope::Document;
use bfp_bundle::seal::{seal, seal_token};
use bfp_bundle::verify::refusal::WhoseThreshold;
use bfp_bundle::verify::{Act, Host, Refusal, Token};

use super::Case;
use crate::made::{host, key, keys, set, token};

/// A token for a host where two of the keys 1, 2 and 3 are in force.
fn signed(name: &'static str, about: &'static str, token: &Token, signers: &[u8]) -> Case {
    let file = seal_token(token, &keys(signers)).unwrap();
    Case::new(name, about, Document::Token, file).trusting(set(0, 2, &[1, 2, 3], &[]))
}

pub(crate) fn cases() -> Vec<Case> {
    let labelled = || Host { tags: vec!["db".to_owned()], ..host() };
    let web = Token { audience: vec!["web".to_owned()], ..token() };
    let mut body = postcard::to_allocvec(&token()).unwrap();
    // The act stands first.
    body[0] = 2;
    let unknown_act = seal(Document::Token, &body, &keys(&[1, 2]), &[]);
    let mut trailing = seal_token(&token(), &keys(&[1, 2])).unwrap();
    trailing.push(0);
    vec![
        signed("token-release", "a consent to releasing a policy up to revision 7", &token(), &[1, 3]),
        signed(
            "token-recover",
            "a consent to going back from revision 9 to revision 5, on one kind of host, from now on",
            &Token {
                act: Act::Recover { from: 9, to: 5 },
                audience: vec!["db".to_owned()],
                not_before: Some(1_000),
                ..token()
            },
            &[1, 2],
        )
        .at(labelled()),
        signed("token-threshold", "one signature, and two are demanded", &token(), &[1]).refused(Refusal::Threshold {
            found: 1,
            threshold: 2,
            whose: WhoseThreshold::InForce,
        }),
        signed("token-unknown-key", "enough signatures, and one by a key that is not trusted", &token(), &[1, 2, 4])
            .refused(Refusal::UnknownKey(key(4).public().id())),
        signed("token-early", "a second too early", &Token { not_before: Some(1_001), ..token() }, &[1, 2])
            .refused(Refusal::NotYetValid { not_before: 1_001, now: 1_000 }),
        signed("token-expired", "in the second in which it expires", &Token { expires: 1_000, ..token() }, &[1, 2])
            .refused(Refusal::Expired { expires: 1_000, now: 1_000 }),
        signed("token-audience", "for other hosts", &web, &[1, 2])
            .at(labelled())
            .refused(Refusal::WrongAudience(vec!["web".to_owned()])),
        Case::new("token-unknown-act", "an act that the format does not know", Document::Token, unknown_act)
            .trusting(set(0, 2, &[1, 2, 3], &[]))
            .refused(Refusal::BadBody),
        Case::new("token-trailing", "a byte follows the last signature", Document::Token, trailing)
            .trusting(set(0, 2, &[1, 2, 3], &[]))
            .refused(Refusal::TrailingBytes(1)),
    ]
}
