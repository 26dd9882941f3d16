import type { Digest } from "@envidence/core"
import { openOciLayout } from "@envidence/oci"

/** What identifies the image of an OCI layout. */
export interface LayoutIdentity {
  readonly manifestDigest: Digest
  readonly configDigest: Digest
  readonly diffIds: readonly Digest[]
  /** The config's own bytes. */
  readonly config: Uint8Array
}

/** @throws EvidenceError malformed-image, digest-mismatch, input-unreadable */
export async function readLayoutIdentity(directory: string): Promise<LayoutIdentity> {
  const { manifestDigest, configDigest, config, configBytes } = await openOciLayout(directory)
  return { manifestDigest, configDigest, diffIds: config.diffIds, config: configBytes }
}
