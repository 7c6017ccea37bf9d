//! The arguments of LSM hooks, numbered by their place in the hook's signature.

use aya_ebpf::{Argument, programs::LsmContext};

/// Reads a hook's arguments in turn.
pub struct Arguments<'a> {
    ctx: &'a LsmContext,
    next: usize,
}

impl<'a> Arguments<'a> {
    #[inline(always)]
    pub fn of(ctx: &'a LsmContext) -> Self {
        Arguments { ctx, next: 0 }
    }

    #[inline(always)]
    pub fn next<T: Argument>(&mut self) -> T {
        let argument = self.ctx.arg(self.next);
        self.next += 1;
        argument
    }
}

/// Names the arguments of a hook, all of them and in the order of its signature (include/linux/lsm_hook_defs.h). Behind
/// the last one, the kernel passes what the program before this one returned: if that is a denial, the hook returns it.
///
/// One that is left out would shift the rest, and another argument would be taken for that verdict.
macro_rules! arguments {
    ($ctx:ident $(, $argument:ident: $type:ty)*) => {
        let mut arguments = $crate::kernel::arguments::Arguments::of(&$ctx);
        $( let $argument: $type = arguments.next(); )*
        let earlier: i32 = arguments.next();
        if earlier != 0 {
            return earlier;
        }
    };
}
pub(crate) use arguments;
