import { builtInPolicies, isBuiltInPolicy, type PolicyDocument, parsePolicy } from "@envidence/core"
import { readBounded } from "./world.js"

const POLICY_BYTES = 1_000_000

/** A built-in policy by its name, or one from a file. @throws EvidenceError invalid-policy, input-not-found */
export async function readPolicy(nameOrFile: string): Promise<PolicyDocument> {
  if (isBuiltInPolicy(nameOrFile)) return builtInPolicies[nameOrFile]
  return parsePolicy(await readBounded(nameOrFile, POLICY_BYTES), nameOrFile)
}
