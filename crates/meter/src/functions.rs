//! The limits of a module's functions, which bound the cost of compiling it. One pass counts everything, before any other check.

use wasmparser::{BlockType, CompositeInnerType, FunctionBody, Operator, Parser, Payload, TypeRef};

use starlane_abi::limits;

use super::ModuleFault;

/// A module may move as many values as this many functions at their limit, or its own fixed maximum if that is higher.
const MOVING_FUNCTIONS: u64 = 50;

/// A limit of each function of a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FunctionLimit {
    /// The size of its body, in bytes.
    Bytes,
    /// Parameters and variables.
    Locals,
    /// Blocks and branch targets.
    Branches,
    /// Nested loops.
    LoopDepth,
    /// Values moved by its calls and branches, plus variables times loops.
    Moves,
}

impl FunctionLimit {
    /// All limits.
    pub const ALL: [Self; 5] = [Self::Bytes, Self::Locals, Self::Branches, Self::LoopDepth, Self::Moves];

    /// The name in messages and in the settings of hosts.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bytes => "function-bytes",
            Self::Locals => "function-locals",
            Self::Branches => "function-branches",
            Self::LoopDepth => "function-loop-depth",
            Self::Moves => "function-moves",
        }
    }

    /// The counted things, for people.
    fn what(self) -> &'static str {
        match self {
            Self::Bytes => "bytes",
            Self::Locals => "parameters and variables",
            Self::Branches => "blocks and branch targets",
            Self::LoopDepth => "nested loops",
            Self::Moves => "values moved by calls, branches and loops",
        }
    }
}

/// The maximum of each limit. Hosts that set no others use the default.
#[derive(Debug, Clone, Copy)]
pub struct FunctionLimits {
    /// [`FunctionLimit::Bytes`].
    pub bytes: u64,
    /// [`FunctionLimit::Locals`].
    pub locals: u64,
    /// [`FunctionLimit::Branches`].
    pub branches: u64,
    /// [`FunctionLimit::LoopDepth`].
    pub loop_depth: u64,
    /// [`FunctionLimit::Moves`].
    pub moves: u64,
}

impl Default for FunctionLimits {
    fn default() -> Self {
        Self {
            bytes: limits::FUNCTION_BYTES,
            locals: limits::FUNCTION_LOCALS,
            branches: limits::FUNCTION_BRANCHES,
            loop_depth: limits::FUNCTION_LOOP_DEPTH,
            moves: limits::FUNCTION_MOVES,
        }
    }
}

impl FunctionLimits {
    fn get(&self, limit: FunctionLimit) -> u64 {
        match limit {
            FunctionLimit::Bytes => self.bytes,
            FunctionLimit::Locals => self.locals,
            FunctionLimit::Branches => self.branches,
            FunctionLimit::LoopDepth => self.loop_depth,
            FunctionLimit::Moves => self.moves,
        }
    }
}

/// A function that exceeds a limit.
#[derive(Debug, thiserror::Error)]
#[error(
    "function {function} has {found} {what}, and the maximum is {max} (limit `{name}`); split it",
    what = limit.what(),
    name = limit.name()
)]
pub struct FunctionFault {
    function: u32,
    found: u64,
    max: u64,
    pub(super) limit: FunctionLimit,
}

/// The numbers of parameters and results of a function.
#[derive(Debug, Clone, Copy, Default)]
struct Arity {
    params: u64,
    results: u64,
}

/// The cost of a function.
#[derive(Debug, Default)]
struct Cost {
    /// Blocks and targets of branches.
    branches: u64,
    /// Values moved by calls and branches.
    moves: u64,
    loops: u64,
    /// The maximum depth of nested loops.
    depth: u64,
}

/// The parts of a module outside its functions' bodies.
#[derive(Debug, Default)]
struct Sections {
    types: Vec<Arity>,
    /// The types of the functions, imported ones first.
    functions: Vec<u32>,
    /// The maxima of the tables that it defines.
    tables: Vec<Option<u64>>,
}

impl Sections {
    fn of_type(&self, ty: u32) -> Arity {
        self.types.get(ty as usize).copied().unwrap_or_default()
    }

    fn of_function(&self, function: u32) -> Arity {
        self.functions.get(function as usize).map_or_else(Arity::default, |ty| self.of_type(*ty))
    }
}

/// Checks all functions of a module. An invalid part costs nothing here; the validation refuses it later.
pub(crate) fn check(wasm: &[u8], function_limits: &FunctionLimits) -> Result<(), ModuleFault> {
    let mut sections = Sections::default();
    let (mut next, mut moves) = (0, 0);
    let most = function_limits.moves.saturating_mul(MOVING_FUNCTIONS).max(limits::MODULE_MOVES);
    for payload in Parser::new(0).parse_all(wasm) {
        match payload? {
            Payload::TypeSection(section) => {
                for group in section {
                    sections.types.extend(group?.types().map(|ty| match &ty.composite_type.inner {
                        CompositeInnerType::Func(ty) => {
                            Arity { params: ty.params().len() as u64, results: ty.results().len() as u64 }
                        }
                        _ => Arity::default(),
                    }));
                }
            }
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    if let TypeRef::Func(ty) = import?.ty {
                        sections.functions.push(ty);
                        next += 1;
                    }
                }
            }
            Payload::FunctionSection(section) => {
                for ty in section {
                    sections.functions.push(ty?);
                }
            }
            Payload::TableSection(section) => {
                for table in section {
                    sections.tables.push(table?.ty.maximum);
                }
            }
            Payload::CodeSectionEntry(body) => {
                moves += check_function(next, &body, &sections, function_limits)?;
                next += 1;
                if moves > most {
                    return Err(ModuleFault::Moves(moves, most));
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// Checks one function. Returns how many values it moves.
fn check_function(
    function: u32,
    body: &FunctionBody<'_>,
    sections: &Sections,
    limits: &FunctionLimits,
) -> Result<u64, ModuleFault> {
    let own = sections.of_function(function);
    let bound = |limit: FunctionLimit, found: u64| {
        let max = limits.get(limit);
        if found > max { Err(FunctionFault { function, found, max, limit }) } else { Ok(()) }
    };
    bound(FunctionLimit::Bytes, body.range().len() as u64)?;
    let mut locals = own.params;
    for local in body.get_locals_reader()? {
        locals += u64::from(local?.0);
    }
    bound(FunctionLimit::Locals, locals)?;
    let cost = Cost::of(body, own, sections)?;
    bound(FunctionLimit::Branches, cost.branches)?;
    bound(FunctionLimit::LoopDepth, cost.depth)?;
    // A compiler may carry each variable around each loop.
    let moves = cost.moves + cost.loops * locals;
    bound(FunctionLimit::Moves, moves)?;
    Ok(moves)
}

impl Cost {
    fn of(body: &FunctionBody<'_>, own: Arity, sections: &Sections) -> Result<Self, ModuleFault> {
        let block = |ty: BlockType| match ty {
            BlockType::Empty => Arity::default(),
            BlockType::Type(_) => Arity { params: 0, results: 1 },
            BlockType::FuncType(index) => sections.of_type(index),
        };
        let call = |ty: Arity| ty.params + ty.results;
        let mut cost = Self::default();
        // For each open block: how many values a branch to it carries, and its depth of loops.
        let mut open = vec![(own.results, 0)];
        for operator in body.get_operators_reader()? {
            match operator? {
                Operator::Block { blockty } | Operator::If { blockty } => {
                    let arity = block(blockty);
                    cost.enter(arity);
                    open.push((arity.results, depth(&open)));
                }
                Operator::Loop { blockty } => {
                    let arity = block(blockty);
                    cost.enter(arity);
                    cost.loops += 1;
                    let inner = depth(&open) + 1;
                    cost.depth = cost.depth.max(inner);
                    open.push((arity.params, inner));
                }
                Operator::Else => cost.branches += 1,
                Operator::End => {
                    open.pop();
                }
                Operator::Br { relative_depth } | Operator::BrIf { relative_depth } => {
                    cost.branch(1, carried(&open, relative_depth));
                }
                // All targets of a table carry the same number of values.
                Operator::BrTable { targets } => {
                    cost.branch(u64::from(targets.len()) + 1, carried(&open, targets.default()));
                }
                Operator::Return => cost.branch(1, own.results),
                Operator::Call { function_index } | Operator::ReturnCall { function_index } => {
                    cost.moves += call(sections.of_function(function_index));
                }
                Operator::CallIndirect { type_index, .. } | Operator::ReturnCallIndirect { type_index, .. } => {
                    cost.moves += call(sections.of_type(type_index));
                }
                // In a page, only its maximum bounds a table.
                Operator::TableGrow { table } => {
                    let most = sections.tables.get(table as usize).copied().flatten();
                    if most.is_none_or(|most| most > u64::from(limits::TABLE_ENTRIES)) {
                        return Err(ModuleFault::GrowingTable(table));
                    }
                }
                _ => {}
            }
        }
        Ok(cost)
    }

    fn enter(&mut self, arity: Arity) {
        self.branch(1, arity.params + arity.results);
    }

    fn branch(&mut self, targets: u64, carried: u64) {
        self.branches += targets;
        self.moves += targets * carried;
    }
}

fn carried(open: &[(u64, u64)], depth: u32) -> u64 {
    let index = open.len().checked_sub(1 + depth as usize);
    index.and_then(|index| open.get(index)).map_or(0, |(carried, _)| *carried)
}

fn depth(open: &[(u64, u64)]) -> u64 {
    open.last().map_or(0, |(_, depth)| *depth)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(limits: FunctionLimits, text: &str) -> Option<FunctionLimit> {
        let wasm = wat::parse_str(format!("(module {text})")).unwrap();
        super::check(&wasm, &limits).err().and_then(|fault| fault.limit())
    }

    fn generous() -> FunctionLimits {
        FunctionLimits { bytes: 1 << 20, locals: 10_000, branches: 10_000, loop_depth: 1_000, moves: 100_000 }
    }

    #[test]
    fn each_limit_itself_is_allowed() {
        let many = |what: &str, count: u64| what.repeat(count as usize);
        let locals = |count: u64| format!("(func (param i32 i64) (local{}))", many(" i32", count - 2));
        // The empty list of variables and the end take two bytes.
        let bytes = |count: u64| format!("(func {})", many("nop ", count - 2));
        let blocks = |count: u64| format!("(func {})", many("(block)", count));
        let table = |count: u64| format!("(func (block (br_table{} (i32.const 0))))", many(" 0", count - 1));
        let calls = |count: u64| {
            format!(
                "(func $f (param i32) (result i32) local.get 0) (func i32.const 0 {} drop)",
                many("call $f ", count / 2)
            )
        };
        let loops = |count: u64| format!("(func (local i32 i32) {})", many("(loop)", count / 2));
        let nested = |count: u64| format!("(func {}{})", many("(loop ", count), many(")", count));
        let carried = |count: u64| {
            format!(
                "(func (result i32) (block (result i32) (br_table{} (i32.const 0) (i32.const 0))))",
                many(" 0", count - 2)
            )
        };
        let few = |change: fn(&mut FunctionLimits)| {
            let mut limits = generous();
            change(&mut limits);
            limits
        };
        type Text<'a> = &'a dyn Fn(u64) -> String;
        let cases: [(Text<'_>, FunctionLimit, FunctionLimits, u64); 8] = [
            (&locals, FunctionLimit::Locals, few(|limits| limits.locals = 100), 100),
            (&bytes, FunctionLimit::Bytes, few(|limits| limits.bytes = 100), 100),
            (&blocks, FunctionLimit::Branches, few(|limits| limits.branches = 100), 100),
            (&nested, FunctionLimit::LoopDepth, few(|limits| limits.loop_depth = 100), 100),
            (&table, FunctionLimit::Branches, few(|limits| limits.branches = 100), 99),
            (&calls, FunctionLimit::Moves, few(|limits| limits.moves = 100), 100),
            (&loops, FunctionLimit::Moves, few(|limits| limits.moves = 100), 100),
            (&carried, FunctionLimit::Moves, few(|limits| limits.moves = 100), 101),
        ];
        for (text, limit, limits, last) in cases {
            assert_eq!(checked(limits, &text(last)), None, "{limit:?}");
            assert_eq!(checked(limits, &text(last + 2)), Some(limit), "{limit:?}");
        }
    }

    #[test]
    fn functions_of_a_module_share_a_limit_of_moves() {
        // Each function moves 10,000 variables around 100 loops: the limit of one function.
        let function = format!("(func (local{}) {})", " i32".repeat(10_000), "(loop)".repeat(100));
        let checked = |limits: &FunctionLimits, count: usize| {
            let wasm = wat::parse_str(format!("(module {})", function.repeat(count))).unwrap();
            super::check(&wasm, limits).map_err(|fault| fault.to_string())
        };
        let limits = FunctionLimits::default();
        assert_eq!(checked(&limits, 50), Ok(()));
        let message = "its functions move 51000000 values by calls, branches and loops; the maximum is 50000000";
        assert_eq!(checked(&limits, 51), Err(message.to_owned()));
        assert_eq!(checked(&FunctionLimits { moves: 2_000_000, ..limits }, 51), Ok(()), "a host may allow more");
    }

    #[test]
    fn invalid_code_is_left_to_the_validator() {
        for text in ["(func br 7)", "(func return_call 9)", "(func (block (type 9)))", "(func end end end)"] {
            let Ok(wasm) = wat::parse_str(format!("(module {text})")) else { continue };
            let limit = super::check(&wasm, &generous()).err().and_then(|fault| fault.limit());
            assert_eq!(limit, None, "{text}");
        }
        for cut in 0..40 {
            let wasm =
                wat::parse_str("(module (type (func (result i32))) (func (type 0) (block) i32.const 1))").unwrap();
            // The check must not panic; it may accept or refuse the module.
            let _ = super::check(&wasm[..wasm.len().saturating_sub(cut)], &generous());
        }
    }
}
