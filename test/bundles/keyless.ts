// Signs states keylessly by a throw-away Sigstore.
import { readFileSync } from "node:fs"
import { packSigned, type UnsignedState } from "@envidence/core"
import { nodeCompression } from "@envidence/oci"
import { keylessSigner, readSigningConfig, readTrustedRoot } from "@envidence/trust"
import { type LabIdentity, startSigstore } from "../sigstore/start.ts"

export async function startKeyless() {
  const sigstore = await startSigstore()
  const services = readSigningConfig(readFileSync(sigstore.signingConfigFile))
  const trustedRoot = readTrustedRoot(readFileSync(sigstore.trustedRootFile))
  const offline = ["--offline", "--trusted-root", sigstore.trustedRootFile]
  return {
    ...sigstore,
    offline,
    /** The state as a bundle, signed by this identity. */
    sign: async (state: UnsignedState, who: LabIdentity): Promise<Uint8Array> => {
      const sign = keylessSigner({ identityToken: sigstore.mintToken(who), services, trustedRoot })
      return packSigned(state, await sign(state.statement), nodeCompression)
    },
    /** What a verifier must be told to accept this identity, without network. */
    argsFor: (who: LabIdentity): string[] => {
      const { identity, issuer } = sigstore.signerOf(who)
      return ["--certificate-identity", identity, "--certificate-oidc-issuer", issuer, ...offline]
    },
  }
}
