import type { ErrorCode } from "./errors.js"

/** What each error code means and what to do, as `--explain CODE` prints it. */
export const explanations: Readonly<Record<ErrorCode, string>> = {
  internal: "The program itself failed. Nothing was decided. Run again with --verbose and report what it prints.",
  "input-unreadable":
    "An input exists but broke off or could not be read. Nothing was decided. Check the disk, the permissions and the download.",
  "engine-failed":
    "The container engine could not build, export or run. Nothing was decided. Read the engine's message; `emit-evidence doctor` says what is missing.",
  "build-failed":
    "The Dockerfile does not build here. Nothing was decided. The message has the last lines of the build; --verbose shows all of it.",
  "service-failed":
    "A signing or trust service did not answer as it should. The unsigned bundle is kept: sign it later with `emit-evidence sign`.",
  "registry-failed":
    "A registry, or its token server, did not answer as it should, or does not let you read the image. Nothing was decided. Log in with podman or docker, or try again later.",
  interrupted: "The run was interrupted. Nothing half-written is left; run again, with --resume to keep what was done.",
  usage: "The command line is not one that the tool takes. See --help.",
  "input-not-found": "A named input does not exist. Check the path.",
  "no-subject-chosen":
    "Evidence for one thing proves nothing about another, so the verifier must be told what it should be about: --submission DIR, --image IMAGE, --image-digest DIGEST, or --any-subject-unsafe.",
  "no-signer-chosen":
    "A signature by just anyone proves nothing, so the verifier must be told whose counts: --certificate-identity with --certificate-oidc-issuer, --key, signers in the policy, or --any-signer-unsafe.",
  "invalid-policy": "The policy is not valid, asks for less than the catalogue allows, or would accept anything.",
  "invalid-submission":
    "The submission has files that cannot be part of a build context, or too many, or its Dockerfile asks for what would reach this machine. The message names the first.",
  "signing-not-chosen":
    "There was neither a token nor a key, and no --no-sign. The unsigned bundle was written. Give --identity-token or run in CI, give --key, or say --no-sign.",
  "malformed-archive":
    "The bundle is not, byte for byte, an archive as SPEC.md demands. It was altered, cut off, or packed by another tool.",
  "limit-exceeded": "The input is larger, deeper or has more members than SPEC.md allows.",
  "malformed-json":
    "A document is not JSON that every parser reads in the same way: broken, not UTF-8, duplicate keys, or too deep.",
  "schema-violation": "A document does not match its published JSON Schema.",
  "unsupported-version": "A document has a format of another major version. Use a newer release of the tool.",
  "missing-member": "A file that must be in the bundle, or that manifest.json lists, is not there.",
  "unexpected-member": "The bundle holds a file that manifest.json does not list, or under a role that it cannot have.",
  "digest-mismatch": "A file is not the one that manifest.json lists: it was altered after packing.",
  "unknown-critical-role":
    "The bundle demands that a role be understood that this version does not know. Use a newer release of the tool.",
  "no-attestation": "The bundle carries no signature: it was never signed, or the signature was removed.",
  "malformed-attestation":
    "attestation.sigstore.json is not a Sigstore bundle of version 0.3 with exactly one signature.",
  "wrong-payload-type": "What was signed is not an in-toto statement.",
  "wrong-statement-type": "What was signed is not an in-toto Statement of version 1.",
  "wrong-predicate-type": "What was signed is a statement of another kind, made for another purpose.",
  "bad-certificate": "The signing certificate is broken, or is not one for signing code.",
  "bad-signature": "The signature does not verify: what was signed, or the signature, was altered.",
  "bad-log-entry": "The transparency log's entry does not prove that this signature was logged.",
  "bad-timestamp": "The signed timestamp does not belong to this signature, or does not verify.",
  "manifest-not-signed": "The signature is for another manifest.json: it was made for other files than these.",
  "malformed-image": "The image's manifest, config or a layer is broken, or is not what its digest names.",
  "untrusted-authority": "The certificate comes from no authority in the trusted root. Is it the right --trusted-root?",
  "untrusted-signer":
    "Whoever signed is not one of those accepted, or signed in another way: with a key, or keylessly. The message names both.",
  "untrusted-key": "The bundle is signed with a key that is not one of those accepted.",
  "no-trusted-time": "Nothing trusted says when the bundle was signed, and the certificate or the policy needs it.",
  "too-old": "The evidence was signed longer ago than --max-age or the policy allows.",
  "challenge-mismatch": "The evidence was not made for the challenge that the verifier gave.",
  "subject-mismatch": "The evidence is about another image or submission than the one that the verifier named.",
  "inconsistent-bundle": "Parts of the signed bundle do not belong together.",
  "observation-disagrees": "What the signer states is not what the bundle's own bytes, or the image's layers, give.",
  "preview-disagrees": "The bundle states another outcome than its own observation gives under its own policy.",
}
