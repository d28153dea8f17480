/* What happens before main on a Cortex-M with an FPU, and the vectors. Uses newlib's semihosting; on a
 * board without a debugger leave out initialise_monitor_handles and write _write for the serial port. */
#include <stdint.h>
#include <stdlib.h>

/* From the linker script. */
extern uint32_t data_load[], data_start[], data_end[], bss_start[], bss_end[], stack_top[];

extern void initialise_monitor_handles(void);
extern void __libc_init_array(void);
int main(void);

/* A fault, which no call to the library makes: semihosting ends QEMU with status 99. */
static void fault(void) {
    static const uint32_t exit_99[2] = {0x20026, 99}; /* ADP_Stopped_ApplicationExit */
    register uint32_t operation __asm__("r0") = 0x20;  /* SYS_EXIT_EXTENDED */
    register const uint32_t *argument __asm__("r1") = exit_99;
    __asm__ volatile("bkpt 0xAB" ::"r"(operation), "r"(argument) : "memory");
    for (;;) {
    }
}

/* Called by __libc_init_array. */
void _init(void) {}
void _fini(void) {}

/* The linker script's entry, and the second word of flash. */
void reset(void);
void reset(void) {
    volatile uint32_t *cpacr = (volatile uint32_t *)0xE000ED88;
    *cpacr |= 0xFu << 20; /* the FPU is off after reset */
    __asm__ volatile("dsb\n\tisb" ::: "memory");
    for (uint32_t *from = data_load, *to = data_start; to < data_end;) {
        *to++ = *from++;
    }
    for (uint32_t *to = bss_start; to < bss_end;) {
        *to++ = 0;
    }
    initialise_monitor_handles();
    __libc_init_array();
    exit(main());
}

/* The first two words of flash are the stack and reset; then come the faults. */
typedef struct vector_table {
    uint32_t *stack;
    void (*handlers[15])(void);
} vector_table;

__attribute__((section(".vectors"), used)) static const vector_table vectors = {
    stack_top,
    {reset, fault, fault, fault, fault, fault, 0, 0, 0, 0, fault, fault, 0, fault, fault},
};
