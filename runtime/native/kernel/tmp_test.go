package kernel
import ("testing";"fmt";"time")
func best(work int, f func()) float64 { lo:=time.Hour; t1:=time.Now(); for time.Since(t1)<300*time.Millisecond { t0:=time.Now(); f(); if d:=time.Since(t0); d<lo {lo=d} }; return float64(work)/lo.Seconds()/1e9 }
func TestBest(t *testing.T){ r:=newRand()
 for _,k:=range available { fmt.Println(k.level)
 { m:=randomMatrix(r,k,128,576).m; a:=randomActivations(r,k,24,576); c:=make([]float32,24*128)
 fmt.Printf("mul: %.1f\n",best(24*128*576,func(){ k.MulPanels(m,a,0,4,0,24,c,128) })) }
 for _,s:=range [][3]int{{384,64,32},{384,448,64},{24,448,64}} { x,y:=normal(r,s[0]*s[1]),normal(r,s[1]*s[2]); c:=make([]float32,s[0]*32)
 fmt.Printf("gemm %v: %.1f\n",s,best(s[0]*s[1]*32,func(){ k.GemmF32(s[0],s[1],x,s[1],y,s[2],c,32,false) })) }
 const n=1536
 x,y,w:=normal(r,n),normal(r,n),normal(r,n); a:=k.NewActivations(1,n)
 for _, f := range []struct { name string; run  func() }{
			{"Quantize", func() { k.Quantize(a, 0, x, w, 0.5) }},
			{"SiLUMul", func() { copy(y, x); k.SiLUMul(y, w) }},
			{"Softmax", func() { copy(y, x); k.Softmax(y) }},
			{"SumExp", func() { k.SumExp(x, 3) }},
			{"Add", func() { copy(y, x); k.Add(y, w) }},
			{"Dot", func() { k.Dot(x,w) }},
			{"SumSquares", func() { k.SumSquares(x) }},
			{"Rope", func() { copy(y, x); k.Rope(y, w[:n/2], w[n/2:]) }},
 } { fmt.Printf("%s %.2f Gvalues/s\n",f.name,best(n,f.run)) }
 }}
