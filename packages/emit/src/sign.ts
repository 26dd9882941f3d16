import {
  EvidenceError,
  limits,
  packSigned,
  readBundle,
  readStatement,
  sha256Hex,
  type UntrustedBundle,
} from "@envidence/core"
import { nodeCompression, readBoundedFile, writeFileAtomically } from "@envidence/oci"
import type { EmitArguments } from "./arguments.js"
import { demandWritable, type WrittenBundle } from "./emit.js"
import { startProgress } from "./progress.js"
import { planSigning, SIGN_HINT } from "./signing.js"
import type { World } from "./world.js"

/** `emit-evidence sign`: signs an unsigned bundle's own statement, byte for byte. @throws EvidenceError */
export async function signBundle(told: EmitArguments, world: World): Promise<WrittenBundle> {
  const plan = await planSigning(told.signing, world.env)
  if (plan.kind !== "sign")
    throw new EvidenceError("signing-not-chosen", "nobody said how to sign", { hint: SIGN_HINT })
  await demandWritable(told.output, told.force)
  const bundle = await readNamed(told.input)
  const { statement } = bundle
  if (statement === null) throw new EvidenceError("usage", `${told.input} is signed already`)
  // What is signed stands in a public log for ever: it must be a statement about exactly these members.
  await readStatement(bundle, statement)
  const digest = await sha256Hex(statement)
  if (told.expectDigest !== undefined && told.expectDigest.replace(/^sha256:/, "") !== digest)
    throw new EvidenceError("digest-mismatch", `expected statement ${told.expectDigest}, found ${digest}`)
  const progress = startProgress(told.progress, world)
  const attestation = await progress.step(`signing ${plan.by}`, 2, () => plan.signer(statement))
  const members = [{ path: "manifest.json", bytes: bundle.manifestBytes }, ...bundle.members.values()]
  const packed = await packSigned({ members, statement }, attestation, nodeCompression)
  await writeFileAtomically(told.output, packed)
  return { path: told.output, sha256: await sha256Hex(packed), signed: true, statement: digest }
}

async function readNamed(file: string): Promise<UntrustedBundle> {
  const packed = await readBoundedFile(file, limits.packedBytes)
  try {
    return await readBundle(packed, nodeCompression)
  } catch (cause) {
    if (!(cause instanceof EvidenceError)) throw cause
    const hint = cause.hint === undefined ? {} : { hint: cause.hint }
    throw new EvidenceError(cause.code, `${file}: ${cause.message}`, { cause, ...hint })
  }
}
