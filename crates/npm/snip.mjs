// Replaces functions of the meter that are never called by `unreachable`, so that wasm-opt drops what only they need: a sixth of the
// module. The linker keeps them because they stand in the tables of trait objects. `node snip.mjs FROM TO`.
import { readFileSync, writeFileSync } from "node:fs";
import binaryen from "binaryen";

/** What validates an operator when it is known that its feature is on, as rustc mangles it. */
const VALIDATOR = "OperatorValidatorTemp\\$LT\\$T\\$GT\\$.*\\dvisit_[a-z0-9_]*";
/** Operators of features that no guest may use: `WasmProposalValidator` refuses them before. */
const OFF = [
  ...["struct_", "array_", "i31", "br_on_", "ref_test", "ref_cast", "ref_eq", "any_convert", "convert_extern", "call_ref", "as_non_null"],
  ...["throw", "try", "catch", "delegate", "atomic", "cont_", "suspend", "resume", "switch"],
];
/** Functions by their names. Each must be found: after an update of wasmparser they may have others. */
const NEVER_CALLED = [
  ...OFF.map((name) => new RegExp(VALIDATOR + name)),
  // How an operator that was read before is given to a visitor, and shown. Operators are visited as they are read.
  /VisitOperator14visit_operator/,
  /visit_simd_operator/,
  /Operator\$u20\$as\$u20\$core\.\.fmt\.\.Debug/,
];

// wasm-opt orders functions by their names.
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
  console.error(`${from} has no functions of these names: ${missing.join(" ")}`);
  process.exit(1);
}
writeFileSync(to, module.emitBinary());
