export {
  type KeyAuthentication,
  keyAuthenticator,
  type SigstoreAuthentication,
  sigstoreAuthenticator,
} from "./authentication.js"
export type { IdentitySource } from "./identity-token.js"
export { type KeySigning, keySigner } from "./key-signing.js"
export { type KeylessSigning, keylessSigner } from "./keyless-signing.js"
export { publicKeyFingerprint } from "./public-key.js"
export { type AcceptedIdentity, type AcceptedKey, type SignerPolicy, UntrustedSignerError } from "./signer-policy.js"
export {
  publicGoodServices,
  type RekorService,
  readSigningConfig,
  type SigningServices,
  servicesFromUrls,
} from "./signing-services.js"
export { fetchPublicGoodRoot, readTrustedRoot, type TrustedRoot, type TrustedRootSource } from "./trusted-root.js"
