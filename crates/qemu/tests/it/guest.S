# The guest of these tests: a boot sector. It greets on the serial port; then, at every tick of the BIOS clock, it
# reads a sector of the base disk, writes the next number into one of 64 sectors in turn, and prints "+" for success
# or "E". Unless assembled with DEAF=1 it powers off when its power button is pressed.
        .set SERIAL, 0x3f8
        .set PM, 0x600                  # where SeaBIOS puts PIIX4's power management
        .set BUFFER, 0x8000
        .set FIRST_SECTOR, 16
        .set SECTORS, 64
        .set BASE_SECTOR, 4096

        .code16
        .globl _start
_start: cli
        xor     %ax, %ax
        mov     %ax, %ds
        mov     %ax, %es
        mov     %ax, %ss
        mov     $0x7c00, %sp
        mov     %dl, drive
        mov     $0xff, %al              # the power button's interrupt is polled, not taken
        out     %al, $0xa1
        mov     $PM + 2, %dx
        mov     $0x100, %ax
        out     %ax, %dx
        mov     $greeting, %si
1:      lodsb
        test    %al, %al
        jz      2f
        call    print
        jmp     1b

2:      sti
        hlt
        mov     0x46c, %eax
        cmp     last_tick, %eax
        je      2b
        mov     %eax, last_tick
        # read
        movl    $BASE_SECTOR, sector
        mov     $0x42, %ah
        call    disk
        jc      fail
        # write
        incl    number
        mov     number, %eax
        mov     $BUFFER, %di
        mov     $128, %cx
        cld
        rep stosl
        dec     %eax
        and     $SECTORS - 1, %eax
        add     $FIRST_SECTOR, %eax
        mov     %eax, sector
        mov     $0x4300, %ax
        call    disk
        jc      fail
        mov     $'+', %al
        jmp     3f
fail:   mov     $'E', %al
3:      call    print
        .ifndef DEAF
        mov     $PM, %dx
        in      %dx, %ax
        test    $1, %ah                 # power button
        jz      2b
        mov     $PM + 4, %dx
        mov     $0x2000, %ax            # sleep type 0 is power-off here
        out     %ax, %dx
        .endif
        jmp     2b

disk:   mov     $packet, %si
        mov     drive, %dl
        int     $0x13
        ret

print:  mov     $SERIAL, %dx
        out     %al, %dx
        ret

greeting: .asciz "\nkiln guest up\n"
drive:  .byte 0
last_tick: .long 0
number: .long 0
packet: .byte 16, 0
        .word 1, BUFFER, 0
sector: .long 0, 0
        .org 510
        .word 0xaa55
