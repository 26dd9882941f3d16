import { type SignerPolicy, sigstoreAuthenticator } from "@envidence/trust"
import { describe, expect, test } from "vitest"

const compile = (signers: SignerPolicy) =>
  sigstoreAuthenticator({ trustedRoot: () => Promise.reject(new Error("not needed")), signers })

describe("a policy that means something else than it says is refused at once", () => {
  const cases: [name: string, code: string, policy: SignerPolicy][] = [
    ["nobody", "no-signer-chosen", { accepted: [] }],
    ["empty identity", "usage", { accepted: [{ identity: "", issuer: "https://i.invalid" }] }],
    ["empty issuer", "usage", { accepted: [{ identity: "a", issuer: "" }] }],
    ["empty pattern", "usage", { accepted: [{ identityRegexp: "", issuer: "https://i.invalid" }] }],
    ["broken pattern", "usage", { accepted: [{ identityRegexp: "(", issuer: "https://i.invalid" }] }],
    ["a pattern that breaks out of its anchors", "usage", { accepted: [{ identityRegexp: "a)|(?:b", issuer: "i" }] }],
    ["upper-case fingerprint", "usage", { accepted: [{ keySha256: "AB".repeat(32) }] }],
    ["half a fingerprint", "usage", { accepted: [{ keySha256: "ab" }] }],
  ]
  test.for(cases)("%s: %s", ([, code, policy]) => {
    expect(() => compile(policy)).toThrow(expect.objectContaining({ name: "EvidenceError", code }))
  })
})
