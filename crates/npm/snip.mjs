// Usage: `node snip.mjs FROM TO`. Replaces the bodies of uncalled functions of the meter by `unreachable`. wasm-opt then removes a
// sixth of the module, which only those functions need. The linker keeps them because tables of trait objects refer to them.
import { readFileSync, writeFileSync } from "node:fs";
import binaryen from "binaryen";

/** Functions that validate an operator whose feature is on, as rustc mangles their names. */
const VALIDATOR = "OperatorValidatorTemp\\$LT\\$T\\$GT\\$.*\\dvisit_[a-z0-9_]*";
/** Operators of features that guests cannot use: `WasmProposalValidator` refuses them earlier. */
const OFF = [
  ...["struct_", "array_", "i31", "br_on_", "ref_test", "ref_cast", "ref_eq", "any_convert", "convert_extern", "call_ref", "as_non_null"],
  ...["throw", "try", "catch", "delegate", "atomic", "cont_", "suspend", "resume", "switch"],
];
/** Patterns of function names. Each must match, because an update of wasmparser may rename the functions. */
const NEVER_CALLED = [
  ...OFF.map((name) => new RegExp(VALIDATOR + name)),
  // Visit and format an operator that was read earlier. The meter visits operators while it reads them.
  /VisitOperator14visit_operator/,
  /visit_simd_operator/,
  /Operator\$u20\$as\$u20\$core\.\.fmt\.\.Debug/,
];

// Keeps the names, by which wasm-opt orders functions.
binaryen.setDebugInfo(true);
const [from, to] = process.argv.slice(2);
const module = binaryen.readBinary(readFileSync(from));
const found = new Set();
for (let index = 0; index < module.getNumFunctions(); index += 1) {
  const callee = module.getFunctionByIndex(index);
  const { name } = binaryen.getFunctionInfo(callee);
  const matching = NEVER_CALLED.filter((pattern) => pattern.test(name));
  for (const pattern of matching) found.add(pattern);
  if (matching.length > 0) binaryen.Function.setBody(callee, module.unreachable());
}
const missing = NEVER_CALLED.filter((pattern) => !found.has(pattern));
if (missing.length > 0) {
  console.error(`${from} has no functions that match ${missing.join(" ")}: adapt NEVER_CALLED in snip.mjs to the new wasmparser`);
  process.exit(1);
}
writeFileSync(to, module.emitBinary());
